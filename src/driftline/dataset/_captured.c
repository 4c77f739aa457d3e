/* Captured records as their writers write them, straight from the bytes of a block of lines to typed columns.
 *
 * Only what is fully understood is taken: strict JSON whose payloads are CSV without quotes, of the width that is
 * expected. Any other line is handed back by its place, and driftline/dataset/records.py and payloads.py, which say
 * what a record means, decode it; so a line that is taken must give just what they would give.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 u128;
typedef const uint8_t *Bytes;

#define INTEGRAL 1
#define FRACTIONAL 2
#define STRING 4
#define DEEPEST 16
#define SLACK 16
#define LONG_ID 64 /* bytes; what a longer id becomes in the rows of one record is bounded, as in ... */
#define MOST_IDS (16LL << 20) /* ... driftline/dataset/captured_rows.py */
#define FORM 2 /* of what `parse` takes and gives; driftline/dataset/compiled.py does without any other one */

/* -- memory that Arrow takes over as it is ---------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    void *bytes;
    Py_ssize_t size;
} Memory;

static int memory_buffer(PyObject *object, Py_buffer *view, int flags) {
    Memory *self = (Memory *)object;
    return PyBuffer_FillInfo(view, object, self->bytes, self->size, 1, flags);
}

static void memory_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    free(((Memory *)object)->bytes);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyType_Slot memory_slots[] = {{Py_bf_getbuffer, memory_buffer},
                                     {Py_tp_dealloc, memory_dealloc},
                                     {Py_tp_doc, "Bytes that were parsed."},
                                     {0, NULL}};
static PyType_Spec memory_spec = {"driftline.dataset._captured.Memory", sizeof(Memory), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, memory_slots};

/* The memory at `*bytes` as an object, which frees it. */
static PyObject *owned(PyTypeObject *type, void *bytes, size_t size) {
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Memory *self = (Memory *)allocate(type, 0);
    if (!bytes) bytes = malloc(1); /* nothing, too, lies somewhere */
    if (!self || !bytes) {
        free(bytes);
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    self->bytes = bytes;
    self->size = (Py_ssize_t)size;
    return (PyObject *)self;
}

/* -- what was found --------------------------------------------------------------------------------------------- */

typedef struct {
    char kind; /* t text, i int64, f float64, n nothing is kept but how the values are spelled */
    uint8_t seen, fresh; /* spellings of all values, and of those of the line at hand */
    int32_t *offsets;
    uint8_t *text;
    size_t room;
    uint64_t *numbers;
    uint8_t *valid;
} Column;

typedef struct {
    Column *columns;
    Py_ssize_t width;
    int needed;
    int64_t records;
} Side;

typedef struct {
    Side sides[2]; /* output, input */
    Column id;
    int64_t *ordinal, *time, *line;
    double *probability;
    int64_t rows, room;
    uint64_t *events; /* hashes of the event ids of the records that were taken */
    int64_t records, events_room;
    int64_t *fails; /* time, status and the bits of the probability of each record of an error */
    int64_t fail_count, fail_room;
    int64_t *back; /* start, end and number of each line that is handed back */
    int64_t backs, backs_room;
    int64_t outside, lines;
    int sampled, failed;
    uint8_t *spare;
    size_t spare_room;
    /* what was asked */
    int timed;
    int64_t low, high;
    const uint64_t *suspects;
    Py_ssize_t suspected;
    const uint64_t *powers;
} Found;

static int grown(void **memory, size_t size) {
    void *more = realloc(*memory, size ? size : 1);
    if (!more) return 0;
    *memory = more;
    return 1;
}

static int column_room(Column *column, int64_t rows) {
    size_t n = (size_t)rows;
    if (column->kind == 'n') return 1;
    if (!grown((void **)&column->valid, n / 8 + 1)) return 0;
    if (column->kind != 't') return grown((void **)&column->numbers, n * 8);
    int first = !column->offsets;
    if (!grown((void **)&column->offsets, (n + 1) * 4)) return 0;
    if (first) column->offsets[0] = 0;
    return 1;
}

static int more_rows(Found *found) {
    int64_t rows = found->room ? found->room * 2 : 1024;
    int good = grown((void **)&found->ordinal, (size_t)rows * 8) && grown((void **)&found->time, (size_t)rows * 8) &&
               grown((void **)&found->line, (size_t)rows * 8) && grown((void **)&found->probability, (size_t)rows * 8) &&
               column_room(&found->id, rows);
    for (int s = 0; good && s < 2; s++)
        for (Py_ssize_t i = 0; good && i < found->sides[s].width; i++)
            good = column_room(&found->sides[s].columns[i], rows);
    if (good) found->room = rows;
    return good;
}

static inline void mark(Column *column, int64_t row, int there) {
    uint8_t bit = (uint8_t)(1 << (row & 7));
    if (there) column->valid[row >> 3] |= bit;
    else column->valid[row >> 3] &= (uint8_t)~bit;
}

static int put_text(Column *column, int64_t row, Bytes from, size_t length, Bytes limit) {
    size_t at = (size_t)column->offsets[row];
    if (at + length + SLACK > column->room) {
        size_t room = (at + length + SLACK) * 2;
        if (room > INT32_MAX || !grown((void **)&column->text, room)) return 0;
        column->room = room;
    }
    if (length <= SLACK && limit - from >= SLACK) memcpy(column->text + at, from, SLACK);
    else memcpy(column->text + at, from, length);
    column->offsets[row + 1] = (int32_t)(at + length);
    return 1;
}

static void put_null(Column *column, int64_t row) {
    if (column->kind == 'n') return;
    mark(column, row, 0);
    if (column->kind == 't') column->offsets[row + 1] = column->offsets[row];
    else column->numbers[row] = 0;
}

/* -- numbers ---------------------------------------------------------------------------------------------------- */

/* The float64 nearest to w * 10^q (Lemire, Number parsing at a gigabyte per second, 2021); 0 where that is not sure.
 * `powers` holds the leading 128 bits of 5^q, the upper half first, for q from -342 to 308. */
static int nearest(uint64_t w, int64_t q, int negative, const uint64_t *powers, uint64_t *bits) {
    uint64_t sign = (uint64_t)negative << 63;
    if (w == 0) {
        *bits = sign;
        return 1;
    }
    if (q < -342 || q > 308) return 0;
    int zeros = __builtin_clzll(w);
    w <<= zeros;
    const uint64_t *power = powers + 2 * (q + 342);
    u128 product = (u128)w * power[0];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1FF) == 0x1FF) {
        uint64_t more = (uint64_t)(((u128)w * power[1]) >> 64);
        low += more;
        if (more > low) high++;
    }
    if (low == UINT64_MAX && (q < -27 || q > 55)) return 0;
    int upper = (int)(high >> 63);
    uint64_t mantissa = high >> (upper + 9);
    int64_t exponent = (((152170 + 65536) * q) >> 16) + 63 + upper - zeros + 1023;
    if (exponent <= 0) return 0;
    if (low <= 1 && q >= -4 && q <= 23 && (mantissa & 3) == 1 && (mantissa << (upper + 9)) == high) mantissa &= ~1ULL;
    mantissa += mantissa & 1;
    mantissa >>= 1;
    if (mantissa >= 1ULL << 53) {
        mantissa = 1ULL << 52;
        exponent++;
    }
    if (exponent >= 0x7FF) return 0;
    *bits = sign | ((uint64_t)exponent << 52) | (mantissa & ((1ULL << 52) - 1));
    return 1;
}

typedef struct {
    uint64_t mantissa; /* right while there are at most 19 digits */
    int64_t exponent;
    int negative, digits, whole;
} Number;

static inline int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

/* How the bytes from `from` on are spelled, up to `*end`, where they stop to be a number (or STRING). A byte that is
 * no part of a number must follow the text. */
static inline int spelling(Bytes from, Number *number, Bytes *end) {
    Bytes p = from;
    uint64_t w = 0;
    number->negative = *p == '-';
    p += number->negative;
    Bytes start = p;
    while (is_digit(*p)) w = w * 10 + (uint64_t)(*p++ - '0');
    int64_t whole = p - start, fraction = 0, exponent = 0;
    int kind = INTEGRAL;
    *end = p;
    if (whole == 0) return STRING;
    if (*p == '.') {
        Bytes point = ++p;
        while (is_digit(*p)) w = w * 10 + (uint64_t)(*p++ - '0');
        fraction = p - point;
        if (!fraction) return STRING;
        kind = FRACTIONAL;
    }
    if (*p == 'e' || *p == 'E') {
        int minus = *++p == '-';
        if (*p == '-' || *p == '+') p++;
        Bytes digits = p;
        while (is_digit(*p)) {
            if (exponent < 100000) exponent = exponent * 10 + (*p - '0');
            p++;
        }
        if (p == digits) return STRING;
        if (minus) exponent = -exponent;
        kind = FRACTIONAL;
    }
    int64_t digits = whole + fraction;
    if (digits > 19) {
        for (Bytes z = start; *z == '0' || *z == '.'; z++) digits -= *z == '0';
    }
    number->mantissa = w;
    number->exponent = exponent - fraction;
    number->digits = digits > 1000 ? 1000 : (int)digits;
    number->whole = whole + exponent > 1000 ? 1000 : (int)(whole + exponent);
    *end = p;
    return kind;
}

/* -- CSV -------------------------------------------------------------------------------------------------------- */

/* A field that ends in ',' or at `end`; NULL hands the line back. */
static inline Bytes field(Found *found, Column *column, int64_t row, Bytes from, Bytes end) {
    Number number = {0};
    Bytes stop;
    if (from == end || *from == ',') {
        put_null(column, row);
        return from;
    }
    int kind = STRING;
    if (column->kind == 't' && (column->seen & STRING)) stop = from; /* nothing more can be learned about it */
    else kind = spelling(from, &number, &stop);
    if (stop > end) return NULL;
    if (kind == STRING || (stop < end && *stop != ',')) {
        kind = STRING;
        Bytes comma = memchr(from, ',', (size_t)(end - from));
        stop = comma ? comma : end;
    } else if (kind == INTEGRAL) {
        if (stop - from - number.negative > 18) return NULL;
    } else if (number.whole > 300) return NULL;
    column->fresh |= (uint8_t)kind;
    if (column->kind == 'n') return stop;
    mark(column, row, 1);
    if (column->kind == 't') {
        if (put_text(column, row, from, (size_t)(stop - from), end)) return stop;
        found->failed = 1;
        return NULL;
    }
    uint64_t bits = 0; /* where the spelling is another one, what is kept is of no use, and decoded anew */
    if (column->kind == 'i' && kind == INTEGRAL) {
        int64_t value = number.negative ? -(int64_t)number.mantissa : (int64_t)number.mantissa;
        memcpy(&bits, &value, 8);
    } else if (column->kind == 'f' && kind == FRACTIONAL) {
        if (number.digits > 19) return NULL;
        if (!nearest(number.mantissa, number.exponent, number.negative, found->powers, &bits)) return NULL;
    }
    column->numbers[row] = bits;
    return stop;
}

/* The rows of a payload, followed by a byte that is no part of it; -1 hands the line back. */
static int64_t csv(Found *found, Side *side, Bytes from, Bytes end) {
    int64_t row = found->rows;
    while (from < end) {
        Bytes newline = memchr(from, '\n', (size_t)(end - from));
        Bytes stop = newline ? newline : end;
        Bytes next = newline ? newline + 1 : end;
        while (stop > from && stop[-1] == '\r') stop--;
        if (stop > from) {
            if (row >= found->room && !more_rows(found)) {
                found->failed = 1;
                return -1;
            }
            for (Py_ssize_t i = 0;; i++) {
                if (i == side->width) return -1;
                from = field(found, &side->columns[i], row, from, stop);
                if (!from) return -1;
                if (from == stop) {
                    if (i + 1 < side->width) return -1;
                    break;
                }
                from++;
                if (from == stop) { /* what follows the last comma is empty */
                    if (i + 2 != side->width) return -1;
                    put_null(&side->columns[i + 1], row);
                    break;
                }
            }
            row++;
        }
        from = next;
    }
    return row - found->rows;
}

/* -- JSON ------------------------------------------------------------------------------------------------------- */

typedef struct {
    Bytes at, end;
    int escaped;
} Text;

typedef struct {
    Text data[2], encoding[2], event, inference, time, probability;
    int64_t status;
    int sides, known;
} Record;

static inline Bytes blank(Bytes p) {
    while (*p == ' ' || *p == '\t' || *p == '\r') p++;
    return p;
}

/* Behind a sequence of UTF-8 of two to four bytes. */
static Bytes character(Bytes p, Bytes end) {
    uint8_t c = *p;
    int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
    if (c < 0xC2 || c > 0xF4 || end - p <= more) return NULL;
    uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high) return NULL;
    for (int i = 2; i <= more; i++)
        if ((p[i] & 0xC0) != 0x80) return NULL;
    return p + more + 1;
}

/* The character of four hexadecimal digits, or -1. */
static int unicode(Bytes p) {
    int code = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], letter = c | 32;
        int digit = is_digit(p[i]) ? c - '0' : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
        if (digit < 0) return -1;
        code = code * 16 + digit;
    }
    return code;
}

#define EACH(byte) (0x0101010101010101ULL * (byte))
#define HAS_ZERO(word) (((word) - EACH(0x01)) & ~(word) & EACH(0x80))

/* Behind the string that opens at p (which is a quote); the line ends at `end` with a newline. */
static Bytes string(Bytes p, Bytes end, Text *text) {
    text->at = ++p;
    text->escaped = 0;
    for (;;) {
        while (end - p >= 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            uint64_t odd = HAS_ZERO(word ^ EACH('"')) | HAS_ZERO(word ^ EACH('\\')) |
                           ((word - EACH(0x20)) & ~word & EACH(0x80)) | (word & EACH(0x80));
            if (odd) {
                p += __builtin_ctzll(odd) >> 3;
                break;
            }
            p += 8;
        }
        uint8_t c = *p;
        if (c == '"') {
            text->end = p;
            return p + 1;
        }
        if (c < 0x20) return NULL;
        if (c >= 0x80) {
            p = character(p, end);
            if (!p) return NULL;
        } else if (c == '\\') {
            text->escaped = 1;
            if (p[1] == 'u') {
                int code = end - p > 6 ? unicode(p + 2) : -1;
                if (code <= 0 || (code >= 0xD800 && code <= 0xDFFF)) return NULL; /* no pairs of surrogates either */
                p += 6;
                continue;
            }
            if (!p[1] || !memchr("\"\\/bfnrt", p[1], 8)) return NULL;
            p += 2;
        } else p++;
    }
}

static Bytes number(Bytes p) {
    p += *p == '-';
    Bytes start = p;
    while (is_digit(*p)) p++;
    if (p == start || (*start == '0' && p - start > 1) || p - start > 15) return NULL;
    if (*p == '.') {
        start = ++p;
        while (is_digit(*p)) p++;
        if (p == start || p - start > 30) return NULL;
    }
    return *p == 'e' || *p == 'E' ? NULL : p;
}

static Bytes literal(Bytes p, Bytes end) {
    if (end - p > 4 && !memcmp(p, "true", 4)) return p + 4;
    if (end - p > 4 && !memcmp(p, "null", 4)) return p + 4;
    if (end - p > 5 && !memcmp(p, "false", 5)) return p + 5;
    return NULL;
}

/* Behind a value of which nothing is needed. */
static Bytes value(Bytes p, Bytes end, int depth) {
    Text text;
    if (*p == '"') return string(p, end, &text);
    if (*p == '-' || is_digit(*p)) return number(p);
    if (*p != '{' && *p != '[') return literal(p, end);
    if (depth == DEEPEST) return NULL;
    uint8_t close = *p == '{' ? '}' : ']';
    p = blank(p + 1);
    if (*p == close) return p + 1;
    for (;;) {
        if (close == '}') {
            if (*p != '"' || !(p = string(p, end, &text))) return NULL;
            p = blank(p);
            if (*p != ':') return NULL;
            p = blank(p + 1);
        }
        p = value(p, end, depth + 1);
        if (!p) return NULL;
        p = blank(p);
        if (*p == close) return p + 1;
        if (*p != ',') return NULL;
        p = blank(p + 1);
    }
}

typedef Bytes (*Member)(Record *, const Text *, Bytes, Bytes, int);

/* Behind the object that opens at p; `member` is called behind each key, and says where its value ends. */
static inline Bytes object(Record *record, Bytes p, Bytes end, Member member, int which) {
    Text key;
    if (*p != '{') return NULL;
    p = blank(p + 1);
    if (*p == '}') return p + 1;
    for (;;) {
        if (*p != '"' || !(p = string(p, end, &key)) || key.escaped) return NULL;
        p = blank(p);
        if (*p != ':') return NULL;
        p = member(record, &key, blank(p + 1), end, which);
        if (!p) return NULL;
        p = blank(p);
        if (*p == '}') return p + 1;
        if (*p != ',') return NULL;
        p = blank(p + 1);
    }
}

static inline int named(const Text *key, const char *name, size_t length) {
    return (size_t)(key->end - key->at) == length && !memcmp(key->at, name, length);
}
#define NAMED(key, name) named(key, name, sizeof name - 1)

static Bytes once(Record *record, int bit, Bytes p, Bytes end, Text *text) {
    if ((record->known & bit) || *p != '"') return NULL;
    record->known |= bit;
    return string(p, end, text);
}

static Bytes of_side(Record *record, const Text *key, Bytes p, Bytes end, int which) {
    if (NAMED(key, "data")) return once(record, 1 << which, p, end, &record->data[which]);
    if (NAMED(key, "encoding")) return once(record, 4 << which, p, end, &record->encoding[which]);
    return value(p, end, 3);
}

static Bytes of_data(Record *record, const Text *key, Bytes p, Bytes end, int which) {
    (void)which;
    int side = NAMED(key, "endpointOutput") ? 0 : NAMED(key, "endpointInput") ? 1 : -1;
    if (side >= 0) {
        if (record->sides & (1 << side)) return NULL;
        record->sides |= 1 << side;
        return object(record, p, end, of_side, side);
    }
    return NAMED(key, "batchTransformOutput") ? NULL : value(p, end, 2);
}

static Bytes of_event(Record *record, const Text *key, Bytes p, Bytes end, int which) {
    (void)which;
    if (NAMED(key, "eventId")) return once(record, 16, p, end, &record->event);
    if (NAMED(key, "inferenceId")) return once(record, 32, p, end, &record->inference);
    if (NAMED(key, "inferenceTime")) return once(record, 64, p, end, &record->time);
    if (NAMED(key, "inclusionProbability")) {
        if ((record->known & 128) || !is_digit(*p)) return NULL;
        record->known |= 128;
        record->probability.at = p;
        return number(p);
    }
    if (NAMED(key, "statusCode")) {
        Bytes start = p;
        while (is_digit(*p) && p - start < 9) record->status = record->status * 10 + (*p++ - '0');
        int plain = p - start == 3 && *start != '0' && (*blank(p) == ',' || *blank(p) == '}');
        if ((record->known & 1024) || !plain) return NULL;
        record->known |= 1024;
        return p;
    }
    return value(p, end, 2);
}

static Bytes of_record(Record *record, const Text *key, Bytes p, Bytes end, int which) {
    (void)which;
    if (NAMED(key, "captureData")) {
        if (record->known & 256) return NULL;
        record->known |= 256;
        return object(record, p, end, of_data, 0);
    }
    if (NAMED(key, "eventMetadata")) {
        if (record->known & 512) return NULL;
        record->known |= 512;
        return object(record, p, end, of_event, 0);
    }
    return NAMED(key, "groundTruthData") ? NULL : value(p, end, 1);
}

/* -- records ---------------------------------------------------------------------------------------------------- */

static int two(Bytes p) { return is_digit(p[0]) && is_digit(p[1]) ? (p[0] - '0') * 10 + p[1] - '0' : -1; }

/* Microseconds since 1970 of a time such as 2026-03-01T09:14:07.25Z. */
static int time_of(const Text *text, int64_t *time) {
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    Bytes p = text->at;
    size_t length = (size_t)(text->end - p);
    if (length < 20 || length > 27 || length == 21 || text->end[-1] != 'Z') return 0;
    if (p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':') return 0;
    int century = two(p), rest = two(p + 2), month = two(p + 5), day = two(p + 8);
    int hour = two(p + 11), minute = two(p + 14), second = two(p + 17);
    if (century < 16 || century > 22 || rest < 0 || month < 1 || month > 12 || day < 1) return 0;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return 0;
    int year = century * 100 + rest, leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > days[month - 1] + (month == 2 && leap)) return 0;
    int64_t micros = 0;
    if (length > 20) {
        int64_t unit = 1000000;
        if (p[19] != '.') return 0;
        for (Bytes digit = p + 20; digit < text->end - 1; digit++) {
            if (!is_digit(*digit)) return 0;
            unit /= 10;
            micros += unit * (*digit - '0');
        }
    }
    int y = month <= 2 ? year - 1 : year, era = y / 400, of_era = y - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t days_since = era * 146097LL + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    *time = (((days_since * 24 + hour) * 60 + minute) * 60 + second) * 1000000 + micros;
    return 1;
}

static uint64_t mixed(uint64_t h) {
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ULL;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBULL;
    return h ^ (h >> 31);
}

static uint64_t hash(Bytes text, size_t length) {
    uint64_t found = length + 0x9E3779B97F4A7C15ULL, word;
    for (; length >= 8; length -= 8, text += 8) {
        memcpy(&word, text, 8);
        found = mixed(found ^ word) + 0x9E3779B97F4A7C15ULL;
    }
    word = 0;
    memcpy(&word, text, length);
    return mixed(found ^ word);
}

static int suspect(const Found *found, uint64_t event) {
    Py_ssize_t low = 0, high = found->suspected;
    while (low < high) {
        Py_ssize_t middle = (low + high) / 2;
        if (found->suspects[middle] < event) low = middle + 1;
        else high = middle;
    }
    return low < found->suspected && found->suspects[low] == event;
}

static int is_csv(const Text *text) {
    Bytes p = text->at;
    return text->end - p == 3 && (p[0] | 32) == 'c' && (p[1] | 32) == 's' && (p[2] | 32) == 'v';
}

/* The payload without its escapes, followed by a byte that is no part of it; a quote in it hands the line back. */
static int plain(Found *found, Text *text) {
    static const char from[] = "\\/bfnrt", to[] = "\\/\b\f\n\r\t";
    size_t length = (size_t)(text->end - text->at), n = 0;
    if (found->spare_room < length + 1) {
        if (!grown((void **)&found->spare, (length + 1) * 2)) {
            found->failed = 1;
            return 0;
        }
        found->spare_room = (length + 1) * 2;
    }
    for (Bytes p = text->at; p < text->end; p++) {
        uint8_t c = *p;
        if (c == '\\') {
            int code = *++p == 'u' ? unicode(p + 1) : 0;
            if (*p == '"' || code == '"') return 0;
            if (code) {
                p += 4;
                if (code >= 0x800) {
                    found->spare[n++] = (uint8_t)(0xE0 | code >> 12);
                    found->spare[n++] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
                } else if (code >= 0x80) found->spare[n++] = (uint8_t)(0xC0 | code >> 6);
                c = code < 0x80 ? (uint8_t)code : (uint8_t)(0x80 | (code & 0x3F));
            } else c = (uint8_t)to[strchr(from, *p) - from];
        }
        found->spare[n++] = c;
    }
    found->spare[n] = '"';
    text->at = found->spare;
    text->end = found->spare + n;
    return 1;
}

static int fail(Found *found, int64_t time, int64_t status, double probability) {
    if (found->fail_count == found->fail_room) {
        int64_t room = found->fail_room ? found->fail_room * 2 : 256;
        if (!grown((void **)&found->fails, (size_t)room * 24)) {
            found->failed = 1;
            return 0;
        }
        found->fail_room = room;
    }
    int64_t *place = found->fails + 3 * found->fail_count++;
    place[0] = time;
    place[1] = status;
    memcpy(place + 2, &probability, 8);
    return 1;
}

/* Whether the line from `p` to `end`, where its newline is, was understood. */
static int take(Found *found, Bytes p, Bytes end, int64_t line) {
    Record record;
    memset(&record, 0, sizeof record);
    p = object(&record, blank(p), end, of_record, 0);
    if (!p || blank(p) != end) return 0;
    int there = record.known & 3; /* bit 0: output, bit 1: input */
    int failed = record.status >= 400;
    if (failed && record.known & 64) there = 0; /* whatever its payloads are, they make no rows */
    else if ((record.known >> 2 & 3) != there || !(record.known & 16) || !(record.known & 64)) return 0;
    if (!failed && !((there & 1 && found->sides[0].needed) || (there & 2 && found->sides[1].needed))) return 0;
    const Text *id = record.known & 32 ? &record.inference : &record.event;
    if (record.event.escaped || record.inference.escaped) return 0;
    int64_t time;
    if (!time_of(&record.time, &time)) return 0;
    double probability = 1.0;
    if (record.known & 128) {
        Number number = {0};
        uint64_t bits;
        Bytes stop;
        if (spelling(record.probability.at, &number, &stop) == STRING || number.digits > 19) return 0;
        if (!nearest(number.mantissa, number.exponent, number.negative, found->powers, &bits)) return 0;
        memcpy(&probability, &bits, 8);
        if (!(probability > 0 && probability <= 1)) return 0;
    }
    for (int s = 0; s < 2; s++)
        if (there >> s & 1 && !is_csv(&record.encoding[s])) return 0;
    if (found->timed && (time < found->low || time >= found->high)) {
        found->outside++;
        return 1;
    }
    if (failed) return fail(found, time, record.status, probability);
    uint64_t event = hash(record.event.at, (size_t)(record.event.end - record.event.at));
    if (found->suspected && suspect(found, event)) return 0;
    int64_t rows = -1;
    for (int s = 0; s < 2; s++) {
        if (!(there >> s & 1)) continue;
        if (record.data[s].escaped && !plain(found, &record.data[s])) return 0;
        int64_t count = csv(found, &found->sides[s], record.data[s].at, record.data[s].end);
        if (count < 1 || (rows >= 0 && rows != count)) return 0;
        rows = count;
    }
    if (id->end - id->at > LONG_ID && rows > MOST_IDS / (id->end - id->at)) return 0;
    if (found->records == found->events_room) {
        int64_t room = found->events_room ? found->events_room * 2 : 1024;
        if (!grown((void **)&found->events, (size_t)room * 8)) {
            found->failed = 1;
            return 0;
        }
        found->events_room = room;
    }
    found->events[found->records++] = event;
    for (int64_t n = 0; n < rows; n++) {
        int64_t row = found->rows + n;
        mark(&found->id, row, 1);
        if (!put_text(&found->id, row, id->at, (size_t)(id->end - id->at), end)) {
            found->failed = 1;
            return 0;
        }
        found->ordinal[row] = n;
        found->time[row] = time;
        found->line[row] = line;
        found->probability[row] = probability;
    }
    found->sampled |= probability != 1.0;
    for (int s = 0; s < 2; s++) {
        Side *side = &found->sides[s];
        found->sides[s].records += there >> s & 1;
        for (Py_ssize_t i = 0; i < side->width; i++) {
            if (there >> s & 1) side->columns[i].seen |= side->columns[i].fresh;
            else
                for (int64_t n = 0; n < rows; n++) put_null(&side->columns[i], found->rows + n);
        }
    }
    found->rows += rows;
    return 1;
}

static void read_block(Found *found, Bytes start, Bytes end) {
    for (Bytes p = start, next; p < end && !found->failed; p = next) {
        Bytes newline = memchr(p, '\n', (size_t)(end - p));
        next = newline + 1;
        for (int s = 0; s < 2; s++)
            for (Py_ssize_t i = 0; i < found->sides[s].width; i++) found->sides[s].columns[i].fresh = 0;
        int64_t line = found->lines++;
        if (blank(p) == newline) {
            /* Only spaces: it has no number that matters, and is no record; other blanks are handed back. */
            continue;
        }
        if (take(found, p, newline, line)) continue;
        if (found->failed) return;
        if (found->backs == found->backs_room) {
            int64_t room = found->backs_room ? found->backs_room * 2 : 256;
            if (!grown((void **)&found->back, (size_t)room * 24)) {
                found->failed = 1;
                return;
            }
            found->backs_room = room;
        }
        int64_t *back = found->back + 3 * found->backs++;
        back[0] = p - start;
        back[1] = next - start;
        back[2] = line;
    }
}

/* -- the module ------------------------------------------------------------------------------------------------- */

static int prepared(Column *column, char kind) {
    memset(column, 0, sizeof *column);
    column->kind = kind;
    return 1;
}

static void emptied(Column *column) {
    free(column->offsets);
    free(column->text);
    free(column->numbers);
    free(column->valid);
    memset(column, 0, sizeof *column);
}

static PyObject *taken(PyTypeObject *type, void *memory, size_t size) {
    void **place = memory;
    void *bytes = *place;
    *place = NULL;
    return owned(type, bytes, size);
}

/* (spellings, validity, numbers or offsets, text) of a column. */
static PyObject *column_result(PyTypeObject *type, Column *column, int64_t rows) {
    if (column->kind == 'n' || !rows) return Py_BuildValue("(iOOO)", column->seen, Py_None, Py_None, Py_None);
    size_t n = (size_t)rows;
    PyObject *valid = taken(type, &column->valid, n / 8 + 1), *first, *text;
    if (column->kind == 't') {
        size_t length = (size_t)column->offsets[n];
        first = taken(type, &column->offsets, (n + 1) * 4);
        text = taken(type, &column->text, length);
    } else {
        first = taken(type, &column->numbers, n * 8);
        text = Py_NewRef(Py_None);
    }
    if (!valid || !first || !text) {
        Py_XDECREF(valid);
        Py_XDECREF(first);
        Py_XDECREF(text);
        return NULL;
    }
    return Py_BuildValue("(iNNN)", column->seen, valid, first, text);
}

static PyObject *result(PyTypeObject *type, Found *found) {
    PyObject *sides[2];
    for (int s = 0; s < 2; s++) {
        sides[s] = PyTuple_New(found->sides[s].width);
        for (Py_ssize_t i = 0; sides[s] && i < found->sides[s].width; i++) {
            PyObject *column = column_result(type, &found->sides[s].columns[i], found->rows);
            if (!column || PyTuple_SetItem(sides[s], i, column) < 0) Py_CLEAR(sides[s]);
        }
    }
    size_t n = (size_t)found->rows * 8;
    PyObject *items[] = {sides[0], sides[1], column_result(type, &found->id, found->rows),
                         taken(type, &found->ordinal, n), taken(type, &found->time, n), taken(type, &found->line, n),
                         taken(type, &found->probability, n), taken(type, &found->events, (size_t)found->records * 8),
                         taken(type, &found->back, (size_t)found->backs * 24),
                         taken(type, &found->fails, (size_t)found->fail_count * 24)};
    int whole = 1;
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) whole &= items[i] != NULL;
    if (!whole) {
        for (size_t i = 0; i < sizeof items / sizeof *items; i++) Py_XDECREF(items[i]);
        return PyErr_NoMemory();
    }
    return Py_BuildValue("(LLLiLLNNNNNNNNNN)", (long long)found->rows, (long long)found->lines, (long long)found->outside,
                         found->sampled, (long long)found->sides[0].records, (long long)found->sides[1].records,
                         items[0], items[1], items[2], items[3], items[4], items[5], items[6], items[7], items[8], items[9]);
}

static PyObject *parse(PyObject *module, PyObject *arguments) {
    PyTypeObject *type = *(PyTypeObject **)PyModule_GetState(module);
    Py_buffer data, suspects, powers;
    Py_ssize_t length;
    const char *kinds[2];
    Py_ssize_t widths[2];
    int needed, timed;
    long long low, high;
    if (!PyArg_ParseTuple(arguments, "y*ny#y#ipLLy*y*:parse", &data, &length, &kinds[0], &widths[0], &kinds[1],
                          &widths[1], &needed, &timed, &low, &high, &suspects, &powers))
        return NULL;
    PyObject *answer = NULL;
    Found found;
    memset(&found, 0, sizeof found);
    found.timed = timed;
    found.low = low;
    found.high = high;
    found.suspects = suspects.buf;
    found.suspected = suspects.len / 8;
    found.powers = powers.buf;
    Bytes start = data.buf;
    int fits = length >= 0 && length <= data.len && length <= INT32_MAX && (!length || start[length - 1] == '\n') &&
               powers.len == 651 * 16 && (uintptr_t)powers.buf % 8 == 0 && (uintptr_t)suspects.buf % 8 == 0;
    for (int s = 0; s < 2; s++)
        for (Py_ssize_t i = 0; i < widths[s]; i++) fits &= kinds[s][i] && strchr("tifn", kinds[s][i]) != NULL;
    if (!fits) PyErr_SetString(PyExc_ValueError, "not a block of whole lines with the kinds of its columns");
    int good = fits && prepared(&found.id, 't');
    for (int s = 0; good && s < 2; s++) {
        Side *side = &found.sides[s];
        side->needed = needed >> s & 1;
        side->columns = calloc((size_t)widths[s] + 1, sizeof(Column));
        good = side->columns != NULL;
        if (!good) break;
        side->width = widths[s];
        for (Py_ssize_t i = 0; i < widths[s]; i++) prepared(&side->columns[i], kinds[s][i]);
    }
    if (good) {
        Py_BEGIN_ALLOW_THREADS
        read_block(&found, start, start + length);
        Py_END_ALLOW_THREADS
        good = !found.failed;
    }
    if (good) answer = result(type, &found);
    else if (fits) PyErr_NoMemory();
    for (int s = 0; s < 2; s++) {
        for (Py_ssize_t i = 0; i < found.sides[s].width; i++) emptied(&found.sides[s].columns[i]);
        free(found.sides[s].columns);
    }
    emptied(&found.id);
    free(found.ordinal);
    free(found.time);
    free(found.line);
    free(found.probability);
    free(found.events);
    free(found.back);
    free(found.fails);
    free(found.spare);
    PyBuffer_Release(&data);
    PyBuffer_Release(&suspects);
    PyBuffer_Release(&powers);
    return answer;
}

static PyObject *hash_of(PyObject *Py_UNUSED(module), PyObject *text) {
    Py_ssize_t length;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &length);
    return bytes ? PyLong_FromUnsignedLongLong(hash((Bytes)bytes, (size_t)length)) : NULL;
}

static PyMethodDef functions[] = {
    {"parse", parse, METH_VARARGS,
     "parse(data, length, output_kinds, input_kinds, needed, timed, low, high, suspects, powers)\n\n"
     "The records in the first `length` bytes, whole lines, as columns; lines that are handed back by their place."},
    {"hash_of", hash_of, METH_O, "hash_of(text)\n\nThe hash of an event id."},
    {NULL, NULL, 0, NULL}};

static int prepare(PyObject *module) {
    PyObject *type = PyType_FromSpec(&memory_spec);
    if (!type) return -1;
    *(PyObject **)PyModule_GetState(module) = type;
    return PyModule_AddIntConstant(module, "FORM", FORM);
}

static void forget(void *module) { Py_CLEAR(*(PyObject **)PyModule_GetState(module)); }

static PyModuleDef_Slot slots[] = {{Py_mod_exec, prepare}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_captured", "Captured records, parsed.",
                                        sizeof(PyObject *), functions, slots, NULL, NULL, forget};

PyMODINIT_FUNC PyInit__captured(void) {
    /* Words are read from text, and columns handed over, as they lie in memory. */
    const uint16_t one = 1;
    if (*(const uint8_t *)&one != 1) {
        PyErr_SetString(PyExc_ImportError, "the compiled parser needs a little-endian processor");
        return NULL;
    }
    return PyModuleDef_Init(&definition);
}
