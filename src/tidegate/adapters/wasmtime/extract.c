/* One page of HTML in; its text, title, links and metadata out.

   One pass, no tree and no recursion, so that nesting costs nothing and time is linear in the size.
   Freestanding, without imports: the module can reach nothing but its own memory. An instance reads
   one document: reserve(size), write the document there, extract(), read what the result points to.

   What is dropped: comments, scripts, styles, noscript, frames, templates, SVG images.

   Source: WHATWG HTML, 13.2 (parsing) and 15.5.17 (no script means no noscript content). */

#include "output.h"
#include "characters.h"
#include "markup.h"
#include "elements.h"
#include "values.h"

static struct result result;
static struct record *anchor, *heading;
static u32 pre_depth, template_depth, svg_depth, svg_html_depth;
static int title_seen, heading_seen, canonical_seen, base_seen, lang_seen, newline_ignored;

static int hidden(void) { return template_depth || svg_depth; }

static void put_space(const u8 *p, const u8 *end) {
    if (!pre_depth) {
        separate(GAP_SPACE);
    } else if (*p != '\r' || p + 1 == end || p[1] != '\n') {
        close_gap();
        put(*p == '\r' ? '\n' : *p);
    }
}

static const u8 *put_reference(const u8 *p, const u8 *end) {
    struct reference reference;
    if (!read_reference(p, end, 0, &reference)) {
        close_gap();
        put('&');
        return p + 1;
    }
    if (reference.size == 1 && is(reference.bytes[0], SPACE)) {
        put_space(reference.bytes, reference.bytes + 1);
        return reference.next;
    }
    close_gap();
    for (u32 i = 0; i < reference.size; i++) put(reference.bytes[i]);
    return reference.next;
}

/* Writes text up to `end`, or up to a "<" if `active` says that it means something there. */
static const u8 *put_text(const u8 *p, const u8 *end, u32 active) {
    const u32 special = SPACE | NUL | active;
    while (p < end) {
        if (!is(*p, special)) {
            close_gap();
            u8 *to = text_end;
            while (p < end && to < text_limit && !is(*p, special)) *to++ = *p++;
            text_end = to;
        } else if (*p == '<') {
            return p;
        } else if (*p == '&') {
            p = put_reference(p, end);
        } else {
            if (*p) put_space(p, end);
            p++;
        }
    }
    return p;
}

static void close_range(struct record **open) {
    if (*open) (*open)->to = (u32)(text_end - text);
    *open = 0;
}

static void open_visible(const struct element *element, const struct span *spans) {
    const struct span none = {page, 0, 0};
    separate((enum gap)element->gap);
    switch (element->kind) {
        case ANCHOR:
            close_range(&anchor);
            anchor = put_link(none, spans[HREF]);
            break;
        case AREA:
            put_link(spans[ALT], spans[HREF]);
            break;
        case BASE:
            put_once(&base_seen, RECORD_BASE, spans[HREF]);
            break;
        case BREAK:
            separate(gap >= GAP_LINE ? GAP_PARAGRAPH : GAP_LINE);
            break;
        case HEADING:
            close_range(&heading);
            if (element->name[1] != '1' || heading_seen) break;
            heading = begin_record(RECORD_HEADING);
            heading_seen = 1;
            break;
        case HTML:
            put_once(&lang_seen, RECORD_LANG, spans[LANG]);
            break;
        case LINK:
            if (is_canonical(spans[REL])) put_once(&canonical_seen, RECORD_CANONICAL, spans[HREF]);
            break;
        case META:
            put_meta(spans);
            break;
        case PRE:
            pre_depth++;
            newline_ignored = 1;
            break;
    }
}

static const u8 *skip_newline(const u8 *p, const u8 *end) {
    if (p < end && *p == '\r') p++;
    return p < end && *p == '\n' ? p + 1 : p;
}

static void put_title(const u8 *p, const u8 *end) {
    const struct span none = {page, 0, 0}, value = {p, (u32)(end - p), 1};
    if (!title_seen) put_record(RECORD_TITLE, none, value, !WHOLE);
    title_seen = 1;
}

static void put_preformatted(const struct element *element, const u8 *p, const u8 *end) {
    u32 active = element->kind == TEXTAREA ? AMPERSAND : 0;
    separate((enum gap)element->gap);
    pre_depth++;
    put_text(element->kind == TEXTAREA ? skip_newline(p, end) : p, end, active);
    pre_depth--;
    separate((enum gap)element->gap);
}

static void put_opaque(const struct element *element, const u8 *p, const u8 *end) {
    if (element->kind == TITLE) put_title(p, end);
    if (element->kind == TEXTAREA || element->kind == XMP || element->kind == PLAINTEXT)
        put_preformatted(element, p, end);
}

/* Reads content that holds no tags, and its end tag; 0 if the element is not of that kind. */
static const u8 *read_opaque(const struct element *element, const u8 *p) {
    u32 size = 0;
    while (element->name[size]) size++;
    const u8 *end = page_end;
    int self_closing;
    switch (element->kind) {
        case SCRIPT:
            end = find_script_end(p);
            break;
        case DROPPED:
        case TITLE:
        case TEXTAREA:
        case XMP:
            end = find_end_tag(p, element->name, size);
            break;
        case PLAINTEXT:
            break;
        default:
            return 0;
    }
    if (!hidden()) put_opaque(element, p, end);
    if (end < page_end) end = scan_attributes(end + 2 + size, 0, &self_closing);
    return end ? end : page_end;
}

/* Follows an SVG image. Returns 0 if the tag is not part of it: either it holds HTML here, or the
   tag is one that ends the image. */
static int open_in_svg(const struct element *element, int self_closing) {
    int deeper = !self_closing;
    if (element->kind == SVG) {
        svg_depth += deeper;
    } else if (element->kind == FOREIGN || (element->kind == TITLE && !svg_html_depth)) {
        svg_html_depth += deeper;
    } else {
        if (!svg_html_depth && element->ends_svg) svg_depth = 0;
        return !svg_html_depth && !element->ends_svg;
    }
    return 1;
}

static const u8 *read_start_tag(const u8 *p) {
    struct span spans[ATTRIBUTES] = {{0}};
    int self_closing;
    const struct element *element = scan_name(&p);
    p = scan_attributes(p, element->kind == OTHER ? 0 : spans, &self_closing);
    if (!p) return page_end;
    if (svg_depth && open_in_svg(element, self_closing)) return p;
    const u8 *behind = read_opaque(element, p);
    if (behind) return behind;
    if (element->kind == SVG)
        svg_depth += !self_closing;
    else if (element->kind == TEMPLATE)
        template_depth++;
    else if (!hidden())
        open_visible(element, spans);
    return p;
}

static void close_visible(const struct element *element) {
    separate((enum gap)element->gap);
    if (element->kind == ANCHOR) close_range(&anchor);
    if (element->kind == HEADING) close_range(&heading);
    if (element->kind == PRE && pre_depth) pre_depth--;
    if (element->kind == BREAK) separate(GAP_LINE);
}

static const u8 *read_end_tag(const u8 *p) {
    int self_closing;
    const struct element *element = scan_name(&p);
    p = scan_attributes(p, 0, &self_closing);
    if (!p) return page_end;
    if (element->kind == TEMPLATE && (!svg_depth || svg_html_depth)) {
        if (template_depth) template_depth--;
    } else if (svg_depth) {
        if (element->kind == SVG && !--svg_depth) svg_html_depth = 0;
        if ((element->kind == FOREIGN || element->kind == TITLE) && svg_html_depth)
            svg_html_depth--;
    } else if (!template_depth) {
        close_visible(element);
    }
    return p;
}

static const u8 *read_declaration(const u8 *p) {
    if (starts(p, "<!--", 4)) return skip_comment(p + 4);
    if (svg_depth && !svg_html_depth && starts(p, "<![cdata[", 9)) return skip_cdata(p + 9);
    return skip_behind(p, '>');
}

/* Reads the tag, comment or plain "<" at `p`. */
static const u8 *read_markup(const u8 *p) {
    u8 next = p + 1 < page_end ? p[1] : 0;
    if (is(next, LETTER)) return read_start_tag(p + 1);
    if (next == '!' || next == '?') return read_declaration(p);
    if (next == '/' && p + 2 < page_end)
        return is(p[2], LETTER) ? read_end_tag(p + 2) : skip_behind(p + 2, '>');
    if (!hidden()) {
        close_gap();
        put('<');
    }
    return p + 1;
}

/* Reads the document. Returns 0 if memory ran out. */
EXPORT(extract) struct result *extract(void) {
    learn_classes();
    learn_elements();
    for (const u8 *p = page; p < page_end;) {
        if (newline_ignored) p = skip_newline(p, page_end);
        newline_ignored = 0;
        if (hidden())
            while (p < page_end && *p != '<') p++;
        else
            p = put_text(p, page_end, AMPERSAND | LESS);
        if (p < page_end) p = read_markup(p);
    }
    close_range(&anchor);
    close_range(&heading);
    result.text = (u32)text;
    result.text_size = (u32)(text_end - text);
    result.records = (u32)records;
    result.records_size = (u32)(records_end - records);
    return memory_refused ? 0 : &result;
}
