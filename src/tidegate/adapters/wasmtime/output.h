/* What the extractor writes: the text of the page, and records about it.

   Linear memory holds, in this order: our own data and stack, the document, the text, the records.
   The text has its whole room from the start, because it never outgrows 6/5 of the document: the
   longest growth is a 5 byte reference such as "&nGt;" that stands for 6 bytes. Records grow to the
   end of memory, and memory grows until its owner refuses. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define EXPORT(name) __attribute__((export_name(#name)))
#define WASM_PAGE 65536u
#define DOCUMENT_MAX (1u << 30)

/* Pending white space: nothing is written before the next visible character asks for it, so runs
   collapse, the widest wins, and no text begins or ends with a gap. */
enum gap { GAP_NONE, GAP_SPACE, GAP_TAB, GAP_LINE, GAP_PARAGRAPH };

/* Followed by `name_size` and `value_size` bytes. `from` and `to` are offsets into the text. */
struct __attribute__((packed)) record {
    u32 kind, name_size, value_size, from, to;
};

enum record_kind {
    RECORD_TITLE = 1,
    RECORD_LINK,
    RECORD_META,
    RECORD_LANG,
    RECORD_CANONICAL,
    RECORD_BASE,
    RECORD_HEADING
};

struct result {
    u32 text, text_size, records, records_size;
};

extern u8 __heap_base;

static u8 *page, *page_end;
static u8 *text, *text_end, *text_limit;
static u8 *records, *records_end, *records_limit;
static enum gap gap;
static int memory_refused;

static int memory_reaches(u32 address) {
    u32 wanted = (address + WASM_PAGE - 1) / WASM_PAGE;
    u32 present = __builtin_wasm_memory_size(0);
    if (wanted > present && __builtin_wasm_memory_grow(0, wanted - present) == (__SIZE_TYPE__)-1)
        memory_refused = 1;
    return !memory_refused;
}

/* Makes room for a document and returns where to put it, or 0. */
EXPORT(reserve) u8 *reserve(u32 size) {
    if (size > DOCUMENT_MAX) return 0;
    page = &__heap_base;
    page_end = text = text_end = page + size;
    text_limit = text + size + size / 5 + 16;
    records = records_end = records_limit = text_limit;
    return memory_reaches((u32)text_limit) ? page : 0;
}

static void put(u8 byte) {
    if (text_end < text_limit) *text_end++ = byte;
}

static void separate(enum gap wanted) {
    if (wanted > gap) gap = wanted;
}

static void close_gap(void) {
    enum gap wanted = gap;
    gap = GAP_NONE;
    if (wanted == GAP_NONE || text_end == text) return;
    u8 last = text_end[-1];
    if (last == '\n') {
        int blank = text_end - text > 1 && text_end[-2] == '\n';
        if (wanted == GAP_PARAGRAPH && !blank) put('\n');
        return;
    }
    if (wanted == GAP_SPACE && last != ' ') put(' ');
    if (wanted == GAP_TAB) put('\t');
    if (wanted >= GAP_LINE) put('\n');
    if (wanted == GAP_PARAGRAPH) put('\n');
}

static int append(u8 byte) {
    if (records_end == records_limit) {
        if (!memory_reaches((u32)records_limit + WASM_PAGE)) return 0;
        records_limit += WASM_PAGE;
    }
    *records_end++ = byte;
    return 1;
}

/* The range of a new record is empty, at the present end of the text. */
static struct record *begin_record(enum record_kind kind) {
    struct record *record = (struct record *)records_end;
    for (u32 i = 0; i < sizeof *record; i++)
        if (!append(0)) return 0;
    record->kind = kind;
    record->from = record->to = (u32)(text_end - text);
    return record;
}
