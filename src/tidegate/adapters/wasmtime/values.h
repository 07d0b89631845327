/* Values: what is kept of attributes and titles, as records with references decoded. */

/* Enough for any page made for people. What is beyond is left out, and cannot fill the memory. */
#define LINKS_MAX 10000
#define METAS_MAX 1000
#define NAME_MAX 256
#define VALUE_MAX 16384
#define WHOLE 1

static u32 links, metas;

/* Appends a value with its references decoded. Returns 0 if it did not fit. */
static int append_value(const u8 *p, const u8 *end, u32 max, int attribute) {
    struct reference reference;
    u8 *start = records_end;
    while (p < end) {
        if ((u32)(records_end - start) >= max) return 0;
        const u8 *bytes = p, *next = p + 1;
        u32 size = 1;
        if (!*p) {
            bytes = (const u8 *)"\xEF\xBF\xBD";
            size = 3;
        } else if (*p == '&' && read_reference(p, end, attribute, &reference)) {
            bytes = reference.bytes;
            size = reference.size;
            next = reference.next;
        }
        for (u32 i = 0; i < size; i++)
            if (!append(bytes[i])) return 0;
        p = next;
    }
    return 1;
}

/* Writes a record of the name, cut off if too long, and the value. A value that must be whole and
   is not makes the record vanish. */
static struct record *put_record(enum record_kind kind, struct span name, struct span value,
                                 int whole) {
    u8 *start = records_end;
    struct record *record = begin_record(kind);
    if (!record) return 0;
    append_value(name.at, name.at + name.size, NAME_MAX, 1);
    u8 *behind_name = records_end;
    int fits = append_value(value.at, value.at + value.size, VALUE_MAX, kind != RECORD_TITLE);
    record->name_size = (u32)(behind_name - start - sizeof *record);
    record->value_size = (u32)(records_end - behind_name);
    if (fits || !whole) return record;
    records_end = start;
    return 0;
}

static void put_meta(const struct span *spans) {
    static const u8 KEYS[] = {PROPERTY, NAME, HTTP_EQUIV};
    if (!spans[CONTENT].present) return;
    for (u32 i = 0; i < sizeof KEYS; i++) {
        struct span key = spans[KEYS[i]];
        if (!key.size || key.size > NAME_MAX || metas == METAS_MAX) continue;
        if (put_record(RECORD_META, key, spans[CONTENT], !WHOLE)) metas++;
    }
}

static int is_canonical(struct span rel) {
    for (u32 i = 0; i + 9 <= rel.size; i++) {
        int begins = !i || is(rel.at[i - 1], SPACE);
        int ends = i + 9 == rel.size || is(rel.at[i + 9], SPACE);
        if (begins && ends && same(rel.at + i, "canonical", 9)) return 1;
    }
    return 0;
}

static void put_once(int *seen, enum record_kind kind, struct span value) {
    const struct span none = {page, 0, 0};
    if (!*seen && value.size && put_record(kind, none, value, WHOLE)) *seen = 1;
}

/* A link's text is the range of the text up to its end tag; that of an area is its `alt`. */
static struct record *put_link(struct span alt, struct span href) {
    if (!href.present || links == LINKS_MAX) return 0;
    struct record *record = put_record(RECORD_LINK, alt, href, WHOLE);
    if (record) links++;
    return record;
}
