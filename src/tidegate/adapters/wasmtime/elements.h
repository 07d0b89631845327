/* Elements: which of them mean something to a reader, and what.

   Source: WHATWG HTML, 15.3 (which elements are blocks) and 13.2.6.5 (which end an SVG image). */

enum kind {
    OTHER,
    ANCHOR,
    AREA,
    BASE,
    BREAK,
    DROPPED,
    FOREIGN,
    HEADING,
    HTML,
    LINK,
    META,
    PLAINTEXT,
    PRE,
    SCRIPT,
    SVG,
    TEMPLATE,
    TEXTAREA,
    TITLE,
    XMP
};

struct element {
    char name[14];
    u8 kind;
    u8 gap;
    u8 ends_svg;
};

static const struct element NO_ELEMENT = {"", OTHER, GAP_NONE, 0};

static const struct element ELEMENTS[] = {
    {"a", ANCHOR, GAP_NONE, 0},
    {"address", OTHER, GAP_LINE, 0},
    {"area", AREA, GAP_NONE, 0},
    {"article", OTHER, GAP_LINE, 0},
    {"aside", OTHER, GAP_LINE, 0},
    {"b", OTHER, GAP_NONE, 1},
    {"base", BASE, GAP_NONE, 0},
    {"big", OTHER, GAP_NONE, 1},
    {"blockquote", OTHER, GAP_PARAGRAPH, 1},
    {"body", OTHER, GAP_LINE, 1},
    {"br", BREAK, GAP_NONE, 1},
    {"caption", OTHER, GAP_LINE, 0},
    {"center", OTHER, GAP_LINE, 1},
    {"code", OTHER, GAP_NONE, 1},
    {"dd", OTHER, GAP_LINE, 1},
    {"desc", FOREIGN, GAP_NONE, 0},
    {"details", OTHER, GAP_LINE, 0},
    {"dialog", OTHER, GAP_LINE, 0},
    {"dir", OTHER, GAP_LINE, 0},
    {"div", OTHER, GAP_LINE, 1},
    {"dl", OTHER, GAP_PARAGRAPH, 1},
    {"dt", OTHER, GAP_LINE, 1},
    {"em", OTHER, GAP_NONE, 1},
    {"embed", OTHER, GAP_NONE, 1},
    {"fieldset", OTHER, GAP_LINE, 0},
    {"figcaption", OTHER, GAP_LINE, 0},
    {"figure", OTHER, GAP_LINE, 0},
    {"footer", OTHER, GAP_LINE, 0},
    {"foreignobject", FOREIGN, GAP_NONE, 0},
    {"form", OTHER, GAP_LINE, 0},
    {"frameset", OTHER, GAP_LINE, 0},
    {"h1", HEADING, GAP_PARAGRAPH, 1},
    {"h2", HEADING, GAP_PARAGRAPH, 1},
    {"h3", HEADING, GAP_PARAGRAPH, 1},
    {"h4", HEADING, GAP_PARAGRAPH, 1},
    {"h5", HEADING, GAP_PARAGRAPH, 1},
    {"h6", HEADING, GAP_PARAGRAPH, 1},
    {"head", OTHER, GAP_LINE, 1},
    {"header", OTHER, GAP_LINE, 0},
    {"hgroup", OTHER, GAP_LINE, 0},
    {"hr", OTHER, GAP_LINE, 1},
    {"html", HTML, GAP_LINE, 0},
    {"i", OTHER, GAP_NONE, 1},
    {"iframe", DROPPED, GAP_NONE, 0},
    {"img", OTHER, GAP_NONE, 1},
    {"legend", OTHER, GAP_LINE, 0},
    {"li", OTHER, GAP_LINE, 1},
    {"link", LINK, GAP_NONE, 0},
    {"listing", PRE, GAP_PARAGRAPH, 1},
    {"main", OTHER, GAP_LINE, 0},
    {"menu", OTHER, GAP_LINE, 1},
    {"meta", META, GAP_NONE, 1},
    {"nav", OTHER, GAP_LINE, 0},
    {"nobr", OTHER, GAP_NONE, 1},
    {"noembed", DROPPED, GAP_NONE, 0},
    {"noframes", DROPPED, GAP_NONE, 0},
    {"noscript", DROPPED, GAP_NONE, 0},
    {"ol", OTHER, GAP_PARAGRAPH, 1},
    {"optgroup", OTHER, GAP_LINE, 0},
    {"option", OTHER, GAP_LINE, 0},
    {"p", OTHER, GAP_PARAGRAPH, 1},
    {"plaintext", PLAINTEXT, GAP_PARAGRAPH, 0},
    {"pre", PRE, GAP_PARAGRAPH, 1},
    {"ruby", OTHER, GAP_NONE, 1},
    {"s", OTHER, GAP_NONE, 1},
    {"script", SCRIPT, GAP_NONE, 0},
    {"search", OTHER, GAP_LINE, 0},
    {"section", OTHER, GAP_LINE, 0},
    {"select", OTHER, GAP_LINE, 0},
    {"small", OTHER, GAP_NONE, 1},
    {"span", OTHER, GAP_NONE, 1},
    {"strike", OTHER, GAP_NONE, 1},
    {"strong", OTHER, GAP_NONE, 1},
    {"style", DROPPED, GAP_NONE, 0},
    {"sub", OTHER, GAP_NONE, 1},
    {"summary", OTHER, GAP_LINE, 0},
    {"sup", OTHER, GAP_NONE, 1},
    {"svg", SVG, GAP_NONE, 0},
    {"table", OTHER, GAP_PARAGRAPH, 1},
    {"tbody", OTHER, GAP_LINE, 0},
    {"td", OTHER, GAP_TAB, 0},
    {"template", TEMPLATE, GAP_NONE, 0},
    {"textarea", TEXTAREA, GAP_LINE, 0},
    {"tfoot", OTHER, GAP_LINE, 0},
    {"th", OTHER, GAP_TAB, 0},
    {"thead", OTHER, GAP_LINE, 0},
    {"title", TITLE, GAP_NONE, 0},
    {"tr", OTHER, GAP_LINE, 0},
    {"tt", OTHER, GAP_NONE, 1},
    {"u", OTHER, GAP_NONE, 1},
    {"ul", OTHER, GAP_PARAGRAPH, 1},
    {"var", OTHER, GAP_NONE, 1},
    {"xmp", XMP, GAP_PARAGRAPH, 0},
};

#define ELEMENT_COUNT (sizeof ELEMENTS / sizeof *ELEMENTS)
#define ELEMENT_NAME_MAX (sizeof NO_ELEMENT.name - 1)

static u8 element_slots[256];

static u32 element_slot(u32 hash) { return (hash ^ hash >> 16) & 255; }

static void learn_elements(void) {
    for (u32 i = 0; i < ELEMENT_COUNT; i++) {
        u32 hash = 0;
        for (const char *c = ELEMENTS[i].name; *c; c++) hash = hash_step(hash, (u8)*c);
        u32 slot = element_slot(hash);
        while (element_slots[slot]) slot = (slot + 1) & 255;
        element_slots[slot] = (u8)(i + 1);
    }
}

/* Reads the tag name at `*at` and moves behind it. */
static const struct element *scan_name(const u8 **at) {
    const u8 *name = *at, *p = name;
    u32 hash = 0;
    for (; p < page_end && !is(*p, SPACE | SLASH | GREATER); p++) hash = hash_step(hash, lower(*p));
    *at = p;
    u32 size = (u32)(p - name);
    if (size > ELEMENT_NAME_MAX) return &NO_ELEMENT;
    for (u32 slot = element_slot(hash); element_slots[slot]; slot = (slot + 1) & 255) {
        const struct element *element = &ELEMENTS[element_slots[slot] - 1];
        if (!element->name[size] && same(name, element->name, size)) return element;
    }
    return &NO_ELEMENT;
}
