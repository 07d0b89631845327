/* Markup: tag names, attributes, comments, and content that is not markup at all.

   Every function takes a position and returns a later one; nothing is looked at twice, except for
   the few bytes that tell one token from another, so the time is linear whatever the input.

   Source: WHATWG HTML, 13.2.5 (tokenization). */

struct span {
    const u8 *at;
    u32 size;
    int present;
};

enum attribute { HREF, REL, NAME, PROPERTY, HTTP_EQUIV, CONTENT, LANG, ALT, ATTRIBUTES };

static int same(const u8 *p, const char *name, u32 size) {
    for (u32 i = 0; i < size; i++)
        if (lower(p[i]) != (u8)name[i]) return 0;
    return 1;
}

static int starts(const u8 *p, const char *prefix, u32 size) {
    return (u32)(page_end - p) >= size && same(p, prefix, size);
}

static u32 attribute_of(const u8 *name, u32 size) {
    static const struct {
        char name[11];
        u8 size;
    } KNOWN[ATTRIBUTES] = {{"href", 4},        {"rel", 3},     {"name", 4}, {"property", 8},
                           {"http-equiv", 10}, {"content", 7}, {"lang", 4}, {"alt", 3}};
    u32 i = 0;
    while (i < ATTRIBUTES && !(KNOWN[i].size == size && same(name, KNOWN[i].name, size))) i++;
    return i;
}

static const u8 *skip_space(const u8 *p) {
    while (p < page_end && is(*p, SPACE)) p++;
    return p;
}

/* Reads the value behind "=", if there is one. Returns 0 if the document ends in it. */
static const u8 *scan_value(const u8 *p, struct span *value) {
    p = skip_space(p);
    if (p == page_end) return 0;
    u8 quote = *p == '"' || *p == '\'' ? *p : 0;
    value->at = quote ? ++p : p;
    if (quote)
        while (p < page_end && *p != quote) p++;
    else
        while (p < page_end && !is(*p, SPACE | GREATER)) p++;
    value->size = (u32)(p - value->at);
    if (p == page_end) return 0;
    return quote ? p + 1 : p;
}

/* Reads attributes up to and with ">". The first of equal names wins, those in `spans` are kept.
   Returns 0 if the document ends inside the tag, which is then no tag. */
static const u8 *scan_attributes(const u8 *p, struct span *spans, int *self_closing) {
    *self_closing = 0;
    while (p < page_end) {
        if (*p == '>') return p + 1;
        if (is(*p, SPACE | SLASH)) {
            *self_closing = *p++ == '/' && p < page_end && *p == '>';
            continue;
        }
        const u8 *name = p++;
        while (p < page_end && !is(*p, SPACE | SLASH | GREATER | EQUALS)) p++;
        u32 index = spans ? attribute_of(name, (u32)(p - name)) : ATTRIBUTES;
        struct span value = {p, 0, 1};
        p = skip_space(p);
        if (p < page_end && *p == '=' && !(p = scan_value(p + 1, &value))) return 0;
        if (index < ATTRIBUTES && !spans[index].present) spans[index] = value;
    }
    return 0;
}

static const u8 *skip_behind(const u8 *p, u8 last) {
    while (p < page_end && *p != last) p++;
    return p < page_end ? p + 1 : p;
}

/* `p` is behind "<!--". */
static const u8 *skip_comment(const u8 *p) {
    if (starts(p, ">", 1)) return p + 1;
    if (starts(p, "->", 2)) return p + 2;
    for (const u8 *q = p; q < page_end; q++) {
        if (*q != '>') continue;
        const u8 *dash = q - p > 2 && q[-1] == '!' ? q - 1 : q;
        if (dash - p > 1 && dash[-1] == '-' && dash[-2] == '-') return q + 1;
    }
    return page_end;
}

/* `p` is behind "<![CDATA[". */
static const u8 *skip_cdata(const u8 *p) {
    for (const u8 *q = p; q < page_end; q++)
        if (*q == '>' && q - p > 1 && q[-1] == ']' && q[-2] == ']') return q + 1;
    return page_end;
}

static int is_tag(const u8 *p, const char *name, u32 size) {
    return starts(p, name, size) && p + size < page_end && is(p[size], SPACE | SLASH | GREATER);
}

/* Returns where "</name" begins, or the end of the document. */
static const u8 *find_end_tag(const u8 *p, const char *name, u32 size) {
    for (; p < page_end; p++)
        if (*p == '<' && starts(p, "</", 2) && is_tag(p + 2, name, size)) return p;
    return page_end;
}

/* The same for a script, which may hide "</script" as <!-- <script> </script> -->. */
static const u8 *find_script_end(const u8 *p) {
    enum { PLAIN, ESCAPED, DOUBLE_ESCAPED } state = PLAIN;
    for (; p < page_end; p++) {
        if (*p == '>' && state != PLAIN && p[-1] == '-' && p[-2] == '-') state = PLAIN;
        if (*p != '<') continue;
        if (state == PLAIN && starts(p, "<!--", 4)) {
            state = ESCAPED;
            p += 3;
        } else if (state == ESCAPED && is_tag(p + 1, "script", 6)) {
            state = DOUBLE_ESCAPED;
        } else if (starts(p, "</", 2) && is_tag(p + 2, "script", 6)) {
            if (state != DOUBLE_ESCAPED) return p;
            state = ESCAPED;
        }
    }
    return page_end;
}
