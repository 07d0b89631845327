/* Characters: their classes, and character references.

   Source: WHATWG HTML, 13.2.5.72 to 13.2.5.80 (character references), 13.5 (their names). The table
   of names is generated into entities.h: ENTITY_SLOTS hashed slots of offsets into ENTITY_BYTES,
   where each entry is a size, a name without "&", a size, and its value in UTF-8. */

#include "entities.h"

enum character {
    SPACE = 1,
    NUL = 2,
    AMPERSAND = 4,
    LESS = 8,
    SLASH = 16,
    GREATER = 32,
    EQUALS = 64,
    LETTER = 128
};

static u8 class_of[256];

/* As browsers read the code points that only windows-1252 gives a meaning; 0 stays itself. */
static const u16 WINDOWS_1252[32] = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

struct reference {
    const u8 *next;
    const u8 *bytes;
    u32 size;
    u8 encoded[4];
};

static void learn_classes(void) {
    class_of[' '] = class_of['\t'] = class_of['\n'] = class_of['\f'] = class_of['\r'] = SPACE;
    class_of[0] = NUL;
    class_of['&'] = AMPERSAND;
    class_of['<'] = LESS;
    class_of['/'] = SLASH;
    class_of['>'] = GREATER;
    class_of['='] = EQUALS;
    for (u32 c = 'a'; c <= 'z'; c++) class_of[c] = class_of[c - 32] = LETTER;
}

static int is(u8 c, u32 classes) { return (class_of[c] & classes) != 0; }

static int is_digit(u8 c) { return c >= '0' && c <= '9'; }

static u8 lower(u8 c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

static void encode(u32 code, struct reference *out) {
    u8 *to = out->encoded;
    u32 tail = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const u8 LEAD[4] = {0, 0xC0, 0xE0, 0xF0};
    *to++ = LEAD[tail] | (u8)(code >> 6 * tail);
    while (tail--) *to++ = 0x80 | (code >> 6 * tail & 0x3F);
    out->bytes = out->encoded;
    out->size = (u32)(to - out->encoded);
}

static int digit_value(u8 c, u32 base) {
    if (is_digit(c)) return c - '0';
    c = lower(c);
    return base == 16 && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `p` is behind "&#". */
static int numeric_reference(const u8 *p, const u8 *end, struct reference *out) {
    u32 base = p < end && lower(*p) == 'x' ? 16 : 10, code = 0;
    if (base == 16) p++;
    const u8 *digits = p;
    for (int value; p < end && (value = digit_value(*p, base)) >= 0; p++)
        if (code < 0x110000) code = code * base + (u32)value;
    if (p == digits) return 0;
    if (p < end && *p == ';') p++;
    if (code >= 0x80 && code < 0xA0 && WINDOWS_1252[code - 0x80]) code = WINDOWS_1252[code - 0x80];
    if (!code || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
    encode(code, out);
    out->next = p;
    return 1;
}

static u32 hash_step(u32 hash, u8 c) { return (hash ^ c) * 16777619u; }

static int find_entity(const u8 *name, u32 size, u32 hash, struct reference *out) {
    for (u32 slot = hash >> 20; ENTITY_SLOTS[slot]; slot = (slot + 1) % 4096) {
        const u8 *entry = ENTITY_BYTES + ENTITY_SLOTS[slot];
        u32 i = 0;
        while (entry[0] == size && i < size && entry[1 + i] == name[i]) i++;
        if (i < size) continue;
        out->next = name + size;
        out->size = entry[1 + size];
        out->bytes = entry + 2 + size;
        return 1;
    }
    return 0;
}

/* The longest name wins. Names without ";" count for nothing in an attribute such as "?a=b&copy=1". */
static int named_reference(const u8 *p, const u8 *end, int attribute, struct reference *out) {
    u32 hashes[ENTITY_NAME_MAX + 1], size = 0;
    hashes[0] = 2166136261u;
    while (size < ENTITY_NAME_MAX && p + size < end && (is(p[size], LETTER) || is_digit(p[size]))) {
        hashes[size + 1] = hash_step(hashes[size], p[size]);
        size++;
    }
    if (p + size < end && p[size] == ';' &&
        find_entity(p, size + 1, hash_step(hashes[size], ';'), out))
        return 1;
    if (size > ENTITY_BARE_MAX) size = ENTITY_BARE_MAX;
    for (; size > 1; size--) {
        if (!find_entity(p, size, hashes[size], out)) continue;
        u8 next = out->next < end ? *out->next : ';';
        return !(attribute && (next == '=' || is(next, LETTER) || is_digit(next)));
    }
    return 0;
}

/* Reads the reference at the "&" that `p` points to; 0 if it is only an ampersand. */
static int read_reference(const u8 *p, const u8 *end, int attribute, struct reference *out) {
    if (++p < end && *p == '#') return numeric_reference(p + 1, end, out);
    return named_reference(p, end, attribute, out);
}
