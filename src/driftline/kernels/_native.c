/* The inner loops of states, compiled, in one file so that the compiler may inline them all.
 *
 * They give the same bits as driftline/kernels/reference.py and texts.py, which say what they mean.
 * An Accumulator takes in numbers in any order and keeps them in a hash table of buckets. While every bucket is one
 * value (shift 0), the table is all there is. Once there are more values than it may hold, buckets are made wider, and
 * from then on two more things are kept per row: exact sums (one 128-bit integer for each exponent, so that no addition
 * ever rounds) and the registers of a HyperLogLog. Only C11 and 128-bit integers; no flags of a certain processor.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 u128;

/* A loop that is compiled for newer processors as well; which one runs is found out when the module is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define DISPATCHED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))
#define WIDE_REGISTERS() __builtin_cpu_supports("avx2")
#else
#define DISPATCHED
#define WIDE_REGISTERS() 0
#endif

#define FORM 1 /* of what the functions take and give; driftline/kernels/numbers.py does without any other one */
#define BLOCK 1024
#define EMPTY UINT64_MAX /* the key of no finite number */
#define SIGN (1ULL << 63)
#define MANTISSA ((1ULL << 52) - 1)
#define EXPONENTS 2048
#define GAMMA 0x9E3779B97F4A7C15ULL
#define LOG_REGISTERS 14
#define REGISTERS (1 << LOG_REGISTERS)
#define LIMBS 68 /* 64-bit limbs of a sum of squares: 2 * 2046 + 106 bits, and 64 bits for the count */
#define UNFLUSHED (1 << 21) /* rows after which the sums of exponents are emptied, long before they overflow */
#define NEAR (1 << 13)      /* buckets of one sign that are counted by their place */
#define ROOM (NEAR / 8)     /* of them, those that are kept free for numbers of greater size than any so far */
#define FAR (2 * NEAR)      /* the place of a bucket that is not near */
#define UNSETTLED (1 << 17) /* rows after which recent counts are added to the others, long before they overflow */
#define SPAN 11             /* exponents of numbers that are summed together: 53 bits and these are a word */

static inline uint64_t mixed(uint64_t h) {
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ULL;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBULL;
    return h ^ (h >> 31);
}

static inline uint64_t rank_of(uint64_t hash) {
    return (uint64_t)__builtin_clzll((hash << LOG_REGISTERS) | (1ULL << (LOG_REGISTERS - 1))) + 1;
}

static inline void observe(uint8_t *registers, uint64_t place, uint64_t rank) {
    if (__builtin_expect(rank > registers[place], 0)) registers[place] = (uint8_t)rank;
}

DISPATCHED static void places_and_ranks(const uint64_t *keys, uint32_t *places, uint32_t *ranks, int n) {
    for (int i = 0; i < n; i++) {
        uint64_t hash = mixed(keys[i] + GAMMA);
        places[i] = (uint32_t)(hash >> (64 - LOG_REGISTERS));
        ranks[i] = (uint32_t)rank_of(hash);
    }
}

/* -- sums ------------------------------------------------------------------------------------------------------- */

static void add_at(uint64_t *limbs, u128 number, int bit) {
    int limb = bit >> 6, shift = bit & 63;
    uint64_t parts[3] = {(uint64_t)(number << shift), (uint64_t)((number << shift) >> 64),
                         shift ? (uint64_t)(number >> (128 - shift)) : 0};
    unsigned char carry = 0;
    for (int i = 0; i < 3 || carry; i++) {
        u128 sum = (u128)limbs[limb + i] + (i < 3 ? parts[i] : 0) + carry;
        limbs[limb + i] = (uint64_t)sum;
        carry = (unsigned char)(sum >> 64);
    }
}

typedef struct { /* sums of mantissas and of their squares, by sign and exponent; two copies, for two rows at once */
    u128 first[2][2 * EXPONENTS];
    u128 second[2][EXPONENTS];
} Sums;

typedef struct { /* sums of numbers of a few exponents, as integers of two halves; and of their products, halved too */
    uint64_t high, low;
    uint64_t products[3][2]; /* of the low halves, of both, of the high ones; their low and high halves */
    uint64_t left_out;       /* how many numbers were too small */
} Part;

static inline uint64_t low_half(uint64_t word) { return word & UINT32_MAX; }

/* Sums numbers that are at most SPAN exponents above `base`; it can be done for many at once. */
DISPATCHED static void sum_part(const uint64_t *bits, int n, uint64_t base, Part *part) {
    uint64_t high = 0, low = 0, left_out = 0, ll = 0, lh = 0, ml = 0, mh = 0, hl = 0, hh = 0;
    for (int i = 0; i < n; i++) {
        int64_t up = (int64_t)(((bits[i] >> 52) & 0x7FF) - base);
        uint64_t word = ((bits[i] & MANTISSA) | (MANTISSA + 1)) << (up & 63);
        uint64_t minus = 0 - (bits[i] >> 63);
        word = up < 0 ? 0 : word;
        left_out += (uint64_t)up >> 63;
        uint64_t upper = word >> 32, lower = low_half(word);
        high += (upper ^ minus) - minus;
        low += (lower ^ minus) - minus;
        uint64_t lowest = lower * lower, middle = lower * upper, highest = upper * upper;
        ll += low_half(lowest);
        lh += lowest >> 32;
        ml += low_half(middle);
        mh += middle >> 32;
        hl += low_half(highest);
        hh += highest >> 32;
    }
    *part = (Part){high, low, {{ll, lh}, {ml, mh}, {hl, hh}}, left_out};
}

/* -- the accumulator -------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t key;
    uint64_t count;
} Bucket;

/* Once buckets are wide, most of them lie near to each other: those of the greatest numbers of each sign are counted by
 * their place instead of being looked for in the table. A bucket is in one of the two, never in both. */
typedef struct {
    uint64_t from[2]; /* the first bucket of the negative, and of the positive ones */
    uint64_t counts[2 * NEAR];
    uint32_t recent[2 * NEAR]; /* counted since the rest was settled; in half the memory */
} Near;

typedef struct {
    PyObject_HEAD
    int64_t limit;
    int log_size, log_most, shift, busy;
    int64_t used; /* buckets; of those that are near, the ones that were when they were settled */
    int64_t far;  /* of them, those in the table, once some are near */
    Bucket *table;
    Near *near;       /* NULL while shift is 0 */
    uint64_t least, greatest; /* keys of the numbers that are not zero */
    int64_t count, zeros, nans, positive, negative, unflushed, unsettled;
    Sums *sums;       /* NULL while shift is 0 */
    uint8_t *registers;  /* NULL while shift is 0 */
    uint64_t plus[LIMBS], minus[LIMBS], squares[LIMBS];
} Accumulator;

static inline uint64_t key_of(uint64_t bits) { return bits ^ ((uint64_t)((int64_t)bits >> 63) | SIGN); }
static inline uint64_t bits_of(uint64_t key) { return key ^ (~(uint64_t)((int64_t)key >> 63) | SIGN); }

static Bucket *new_table(int log_size) {
    Bucket *table = malloc(sizeof(Bucket) << log_size);
    if (table) memset(table, 0xFF, sizeof(Bucket) << log_size);
    return table;
}

static inline Bucket *find(Bucket *table, int log_size, uint64_t key) {
    uint64_t mask = (1ULL << log_size) - 1, at = (key * GAMMA) >> (64 - log_size);
    while (table[at].key != key && table[at].key != EMPTY) at = (at + 1) & mask;
    return table + at;
}

static int grow(Accumulator *self) {
    int log_size = self->log_size + 2 < self->log_most ? self->log_size + 2 : self->log_most;
    Bucket *table = new_table(log_size);
    if (!table) return -1;
    for (int64_t i = 0; i < (1LL << self->log_size); i++)
        if (self->table[i].key != EMPTY) *find(table, log_size, self->table[i].key) = self->table[i];
    free(self->table);
    self->table = table;
    self->log_size = log_size;
    return 0;
}

DISPATCHED static int64_t settled(uint64_t *restrict counts, uint32_t *restrict recent) {
    int64_t used = 0;
    for (int i = 0; i < 2 * NEAR; i++) {
        counts[i] += recent[i];
        used += counts[i] != 0;
    }
    return used;
}

/* Adds the recent counts to the others, and finds how many buckets are used. */
static void settle(Accumulator *self) {
    if (!self->near) return;
    self->used = self->far + settled(self->near->counts, self->near->recent);
    memset(self->near->recent, 0, sizeof self->near->recent);
    self->unsettled = 0;
}

/* Sorts the used buckets by key, by their bytes from the lowest; passes over a byte that all keys share are skipped. */
static Bucket *sorted_buckets(Accumulator *self) {
    int64_t n = 0;
    uint64_t differ = 0;
    Bucket *from = malloc(sizeof(Bucket) * (size_t)(self->used + 1)), *to;
    if (!from) return NULL;
    for (int64_t i = 0; i < (1LL << self->log_size); i++)
        if (self->table[i].key != EMPTY) from[n++] = self->table[i];
    for (uint64_t i = 0; self->near && i < 2 * NEAR; i++)
        if (self->near->counts[i])
            from[n++] = (Bucket){self->near->from[i / NEAR] + i % NEAR, self->near->counts[i]};
    for (int64_t i = 1; i < n; i++) differ |= from[i].key ^ from[0].key;
    to = malloc(sizeof(Bucket) * (size_t)(n + 1));
    if (!to) {
        free(from);
        return NULL;
    }
    for (int low = 0; low < 64; low += 8) {
        int64_t starts[257] = {0};
        if (!((differ >> low) & 0xFF)) continue;
        for (int64_t i = 0; i < n; i++) starts[((from[i].key >> low) & 0xFF) + 1]++;
        for (int i = 0; i < 256; i++) starts[i + 1] += starts[i];
        for (int64_t i = 0; i < n; i++) to[starts[(from[i].key >> low) & 0xFF]++] = from[i];
        Bucket *swap = from;
        from = to;
        to = swap;
    }
    free(to);
    return from;
}

/* Merges sorted buckets with as few low bits dropped as leave at most `limit`; returns how many bits. */
static int collapse(Bucket *buckets, int64_t *n, int64_t limit) {
    int64_t gaps[65] = {0}, left = *n, kept = 0;
    int drop = 0;
    for (int64_t i = 1; i < *n; i++) gaps[64 - __builtin_clzll(buckets[i].key ^ buckets[i - 1].key)]++;
    while (left > limit) left -= gaps[++drop];
    if (!drop) return 0;
    for (int64_t i = 0; i < *n; i++) {
        uint64_t key = drop < 64 ? buckets[i].key >> drop : 0;
        if (kept && buckets[kept - 1].key == key) buckets[kept - 1].count += buckets[i].count;
        else buckets[kept++] = (Bucket){key, buckets[i].count};
    }
    *n = kept;
    return drop;
}

/* While shift is 0, the sums and the registers follow from the table. */
static void take_in_values(Accumulator *self, const Bucket *buckets, int64_t n, uint8_t *registers) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = bits_of(buckets[i].key), count = buckets[i].count;
        int exponent = (int)(bits >> 52) & 0x7FF, bit = exponent ? exponent - 1 : 0;
        uint64_t mantissa = (bits & MANTISSA) | ((uint64_t)(exponent != 0) << 52);
        u128 square = (u128)mantissa * mantissa;
        add_at(bits & SIGN ? self->minus : self->plus, (u128)mantissa * count, bit);
        add_at(self->squares, (u128)(uint64_t)square * count, 2 * bit);
        add_at(self->squares, (u128)(uint64_t)(square >> 64) * count, 2 * bit + 64);
        uint64_t hash = mixed(buckets[i].key + GAMMA);
        if (registers) observe(registers, hash >> (64 - LOG_REGISTERS), rank_of(hash));
    }
}

static void flush(Accumulator *self) {
    Sums *sums = self->sums;
    if (!sums) return;
    for (int e = 0; e < EXPONENTS; e++) {
        int bit = e ? e - 1 : 0;
        for (int copy = 0; copy < 2; copy++) {
            if (!sums->second[copy][e]) continue; /* a square is zero only where nothing was added */
            add_at(self->plus, sums->first[copy][e], bit);
            add_at(self->minus, sums->first[copy][e + EXPONENTS], bit);
            add_at(self->squares, sums->second[copy][e], 2 * bit);
            sums->first[copy][e] = sums->first[copy][e + EXPONENTS] = sums->second[copy][e] = 0;
        }
    }
    self->unflushed = 0;
}

static inline uint64_t place_of(const Near *near, uint64_t key, int positive) {
    uint64_t place = key - near->from[positive];
    return place < NEAR ? place + (uint64_t)positive * NEAR : FAR;
}

static int wide_registers; /* whether many numbers are summed at once faster than one by one */

static inline int is_positive(uint64_t key, int shift) { return (int)(key >> (63 - shift)) & 1; }

/* Puts sorted buckets where they belong, now that shift is not 0. */
static void enter_all(Accumulator *self, const Bucket *buckets, int64_t n) {
    Near *near = self->near;
    /* The greatest in size of the negative ones come first, of the positive ones last. */
    near->from[0] = buckets[0].key > ROOM ? buckets[0].key - ROOM : 0;
    near->from[1] = buckets[n - 1].key + ROOM > NEAR ? buckets[n - 1].key + ROOM - NEAR : 0;
    memset(near->counts, 0, sizeof near->counts);
    memset(near->recent, 0, sizeof near->recent);
    memset(self->table, 0xFF, sizeof(Bucket) << self->log_size);
    self->far = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t place = place_of(near, buckets[i].key, is_positive(buckets[i].key, self->shift));
        if (place != FAR) near->counts[place] = buckets[i].count;
        else {
            *find(self->table, self->log_size, buckets[i].key) = buckets[i];
            self->far++;
        }
    }
}

/* The first time that buckets get wider than a value. */
static int widen_first(Accumulator *self) {
    int64_t n = self->used;
    Bucket *buckets = sorted_buckets(self);
    self->sums = calloc(1, sizeof(Sums));
    self->registers = calloc(1, REGISTERS);
    Near *near = malloc(sizeof(Near));
    if (!buckets || !self->sums || !self->registers || !near) {
        free(buckets);
        free(near);
        return -1;
    }
    take_in_values(self, buckets, n, self->registers);
    self->near = near;
    self->shift = collapse(buckets, &n, self->limit);
    self->used = n;
    enter_all(self, buckets, n);
    free(buckets);
    return 0;
}

/* Drops one more bit: neighbours become one, in place, and the few that are not near are entered anew. */
static int drop_bit(Accumulator *self) {
    Near *near = self->near;
    int64_t far = self->far, size = 1LL << self->log_size;
    Bucket *buckets = malloc(sizeof(Bucket) * (size_t)(far + 1));
    if (!buckets) return -1;
    if (far) {
        far = 0;
        for (int64_t i = 0; i < size; i++)
            if (self->table[i].key != EMPTY) buckets[far++] = self->table[i];
        memset(self->table, 0xFF, sizeof(Bucket) << self->log_size);
    }
    self->shift++;
    self->far = self->used = 0;
    for (int sign = 0; sign < 2; sign++) {
        uint64_t *counts = near->counts + sign * NEAR, from = near->from[sign], before[NEAR], to = 0;
        memcpy(before, counts, sizeof before);
        memset(counts, 0, sizeof before);
        /* The half that gets free is for smaller numbers: those of the positive ones have smaller keys. */
        if (sign && from >> 1 >= NEAR / 2) to = NEAR / 2 - 1;
        for (uint64_t i = 0; i < NEAR; i++) counts[to + ((i + (from & 1)) >> 1)] += before[i];
        for (uint64_t i = 0; i < NEAR; i++) self->used += counts[i] != 0;
        near->from[sign] = (from >> 1) - to;
    }
    for (int64_t i = 0; i < far; i++) {
        uint64_t key = buckets[i].key >> 1, place = place_of(near, key, is_positive(key, self->shift));
        if (place != FAR) {
            self->used += near->counts[place] == 0;
            near->counts[place] += buckets[i].count;
        } else {
            Bucket *bucket = find(self->table, self->log_size, key);
            self->far += bucket->key == EMPTY;
            if (bucket->key == EMPTY) *bucket = (Bucket){key, 0};
            bucket->count += buckets[i].count;
        }
    }
    self->used += self->far;
    free(buckets);
    return 0;
}

/* Makes buckets as much wider as leaves at most `limit`, and no more. */
static int widen(Accumulator *self) {
    if (self->shift == 0) return widen_first(self);
    settle(self);
    while (self->used > self->limit)
        if (drop_bit(self) < 0) return -1;
    return 0;
}

/* Enters a bucket that is not there; `key` is that of a number. */
static int enter(Accumulator *self, uint64_t key) {
    if (self->used >= 2 * self->limit) {
        if (widen(self) < 0) return -1;
    } else if (self->log_size < self->log_most && self->used >= (1LL << self->log_size) / 8) {
        if (grow(self) < 0) return -1;
    }
    uint64_t place = FAR;
    key >>= self->shift;
    if (self->near) place = place_of(self->near, key, is_positive(key, self->shift));
    if (place != FAR) {
        self->used += self->near->counts[place]++ == 0;
        return 0;
    }
    Bucket *bucket = find(self->table, self->log_size, key);
    if (bucket->key == EMPTY) {
        *bucket = (Bucket){key, 1};
        self->used++;
        self->far += self->near != NULL;
    } else bucket->count++;
    return 0;
}

DISPATCHED static void keys_of(const uint64_t *bits, uint64_t *keys, int n, uint64_t *least, uint64_t *greatest) {
    uint64_t low = UINT64_MAX, high = 0;
    for (int i = 0; i < n; i++) {
        uint64_t key = key_of(bits[i]);
        keys[i] = key;
        low = key < low ? key : low;
        high = key > high ? key : high;
    }
    *least = low;
    *greatest = high;
}

DISPATCHED static int places_of(const uint64_t *keys, uint32_t *places, int n, int shift, const uint64_t *from) {
    uint64_t negative = from[0], step = from[1] - from[0] - NEAR, far = 0;
    for (int i = 0; i < n; i++) {
        uint64_t positive = 0 - (keys[i] >> 63);
        uint64_t place = (keys[i] >> shift) - negative - (step & positive); /* of the positive, from NEAR on */
        uint64_t beyond = (place - (NEAR & positive)) / NEAR;
        places[i] = (uint32_t)(beyond ? FAR : place);
        far |= beyond;
    }
    return far != 0;
}

/* Counts numbers while each bucket is a value, until one makes buckets wider; that one is counted, too. */
static int count_values(Accumulator *self, const uint64_t *keys, int n) {
    for (int i = 0; i < n; i++) {
        Bucket *bucket = find(self->table, self->log_size, keys[i]);
        if (bucket->key != EMPTY) bucket->count++;
        else if (enter(self, keys[i]) < 0) return -1;
        else if (self->near) return i;
    }
    return n;
}

/* Counts numbers by their wide buckets. */
static int count_wide(Accumulator *self, const uint64_t *keys, int n) {
    Near *near = self->near;
    uint32_t places[BLOCK], *restrict recent = near->recent;
    for (int done = 0; done < n;) {
        int shift = self->shift, left = n - done;
        const uint64_t *key = keys + done;
        if (!places_of(key, places, left, shift, near->from)) {
            for (int i = 0; i < left; i++) recent[places[i]]++;
            break;
        }
        for (int i = 0; i < left && shift == self->shift; i++, done++) {
            if (places[i] != FAR) recent[places[i]]++;
            else {
                Bucket *bucket = find(self->table, self->log_size, key[i] >> shift);
                if (bucket->key != EMPTY) bucket->count++;
                else if (enter(self, key[i]) < 0) return -1;
            }
        }
    }
    self->unsettled += n;
    if (self->unsettled >= UNSETTLED) {
        settle(self);
        if (self->used >= 2 * self->limit) return widen(self);
    }
    return 0;
}

static inline void add_each(Sums *sums, uint64_t bits, int copy) {
    uint64_t both = bits >> 52, exponent = both & 0x7FF;
    uint64_t mantissa = (bits & MANTISSA) | ((uint64_t)(exponent != 0) << 52);
    sums->first[copy][both] += mantissa;
    sums->second[copy][exponent] += (u128)mantissa * mantissa;
}

/* Adds numbers to the sums; `greatest` is their greatest exponent. */
static void sum_up(Accumulator *self, const uint64_t *bits, int n, uint64_t greatest) {
    Sums *sums = self->sums;
    uint64_t base = greatest > SPAN ? greatest - SPAN : 1;
    if (wide_registers) {
        Part part;
        sum_part(bits, n, base, &part);
        __int128 first = (__int128)(int64_t)part.high * ((__int128)1 << 32) + (int64_t)part.low;
        add_at(first < 0 ? self->minus : self->plus, (u128)(first < 0 ? -first : first), (int)base - 1);
        for (int i = 0; i < 3; i++) {
            u128 product = part.products[i][0] + ((u128)part.products[i][1] << 32);
            add_at(self->squares, product, 2 * ((int)base - 1) + 32 * i + (i == 1));
        }
        if (part.left_out) {
            uint64_t small[BLOCK + 1];
            int some = 0;
            for (int i = 0; i < n; i++) {
                small[some] = bits[i];
                some += ((bits[i] >> 52) & 0x7FF) < base;
            }
            for (int i = 0; i < some; i++) add_each(sums, small[i], i & 1);
        }
    } else
        for (int i = 0; i < n; i++) add_each(sums, bits[i], i & 1);
    self->unflushed += n;
    if (self->unflushed >= UNFLUSHED) flush(self);
}

/* Takes in the bits of numbers that are finite and not zero, at most BLOCK of them. */
static int take_in(Accumulator *self, const uint64_t *bits, int n) {
    uint64_t keys[BLOCK], least, greatest;
    uint32_t places[BLOCK], ranks[BLOCK];
    int first = 0, counted = 0;
    keys_of(bits, keys, n, &least, &greatest);
    if (least < self->least) self->least = least;
    if (greatest > self->greatest) self->greatest = greatest;
    self->count += n;
    if (!self->near) {
        first = count_values(self, keys, n);
        if (first < 0) return -1;
        if (first == n) return 0;
        counted = first + 1; /* what the widening took in are the rows before; this row is not among them */
    }
    if (count_wide(self, keys + counted, n - counted) < 0) return -1;
    uint64_t low = (bits_of(least) >> 52) & 0x7FF, high = (bits_of(greatest) >> 52) & 0x7FF;
    sum_up(self, bits + first, n - first, low > high ? low : high);
    places_and_ranks(keys + first, places, ranks, n - first);
    for (int i = 0; i < n - first; i++) observe(self->registers, places[i], ranks[i]);
    return 0;
}

DISPATCHED static int any_apart(const uint64_t *bits, int n) {
    uint64_t apart = 0; /* the bits without the sign, less one, are greatest for zero, NaN and infinity */
    for (int i = 0; i < n; i++) apart |= (uint64_t)((bits[i] << 1) - 1 >= (0x7FFULL << 53) - 1);
    return apart != 0;
}

/* Counts zeros, NaN and infinities apart, and takes in the rest. */
static int sift(Accumulator *self, const uint64_t *bits, int n) {
    uint64_t chosen[BLOCK];
    if (any_apart(bits, n)) {
        int kept = 0;
        for (int i = 0; i < n; i++) {
            uint64_t each = bits[i], size = each << 1;
            self->zeros += size == 0;
            if (__builtin_expect(size >= 0x7FFULL << 53, 0)) {
                if (size > 0x7FFULL << 53) self->nans++;
                else if (each & SIGN) self->negative++;
                else self->positive++;
            }
            chosen[kept] = each;
            kept += size - 1 < (0x7FFULL << 53) - 1;
        }
        n = kept;
        bits = chosen;
    }
    return n ? take_in(self, bits, n) : 0;
}

#define CONVERT(type)                                                                            \
    do {                                                                                         \
        const type *from = (const type *)data + offset + start;                                  \
        if (!valid) for (int i = 0; i < n; i++) block[i] = (double)from[i];                      \
        else {                                                                                   \
            int kept = 0;                                                                        \
            for (int i = 0; i < n; i++) {                                                        \
                int64_t at = offset + start + i;                                                 \
                block[kept] = (double)from[i];                                                   \
                kept += (valid[at >> 3] >> (at & 7)) & 1;                                        \
            }                                                                                    \
            count = kept;                                                                        \
        }                                                                                        \
    } while (0)

static int take_in_column(Accumulator *self, char sort, const void *data, const uint8_t *valid, int64_t offset,
                          int64_t length) {
    double block[BLOCK];
    uint64_t bits[BLOCK];
    for (int64_t start = 0; start < length; start += BLOCK) {
        int n = length - start < BLOCK ? (int)(length - start) : BLOCK, count = n;
        switch (sort) {
            case 'b': CONVERT(int8_t); break;
            case 'B': CONVERT(uint8_t); break;
            case 'h': CONVERT(int16_t); break;
            case 'H': CONVERT(uint16_t); break;
            case 'i': CONVERT(int32_t); break;
            case 'I': CONVERT(uint32_t); break;
            case 'q': CONVERT(int64_t); break;
            case 'Q': CONVERT(uint64_t); break;
            case 'f': CONVERT(float); break;
            default:
                if (!valid) { /* as they are */
                    if (sift(self, (const uint64_t *)data + offset + start, n) < 0) return -1;
                    continue;
                }
                CONVERT(double);
        }
        memcpy(bits, block, sizeof(double) * (size_t)count);
        if (sift(self, bits, count) < 0) return -1;
    }
    return 0;
}

static int width_of(char sort) {
    switch (sort) {
        case 'b': case 'B': return 1;
        case 'h': case 'H': return 2;
        case 'i': case 'I': case 'f': return 4;
        case 'q': case 'Q': case 'd': return 8;
        default: return 0;
    }
}

typedef struct { /* a column as it was handed over; valid.buf is NULL where there are no nulls */
    char sort;
    Py_buffer data, valid;
    long long offset, length;
} Column;

static void column_done(Column *column) {
    PyBuffer_Release(&column->data);
    if (column->valid.obj) PyBuffer_Release(&column->valid);
}

/* Takes a column from the arguments, and one more integer if there is room for it. */
static int column_from(PyObject *arguments, Column *column, long long *more) {
    PyObject *mask;
    int sort;
    memset(column, 0, sizeof *column);
    if (!(more ? PyArg_ParseTuple(arguments, "Cy*OLLL", &sort, &column->data, &mask, &column->offset, &column->length,
                                  more)
               : PyArg_ParseTuple(arguments, "Cy*OLL", &sort, &column->data, &mask, &column->offset, &column->length)))
        return -1;
    if (mask != Py_None && PyObject_GetBuffer(mask, &column->valid, PyBUF_SIMPLE) < 0) {
        column_done(column);
        return -1;
    }
    const char *wrong = NULL;
    long long offset = column->offset, length = column->length, width = sort < 128 ? width_of((char)sort) : 0;
    if (!width) wrong = "unknown sort of numbers";
    else if (offset < 0 || length < 0 || offset > column->data.len / width || length > column->data.len / width - offset)
        wrong = "the buffer of numbers is too short";
    else if ((uintptr_t)column->data.buf % (uintptr_t)width) wrong = "the buffer of numbers is not aligned";
    else if (column->valid.obj && (offset + length + 7) / 8 > column->valid.len)
        wrong = "the buffer of validity is too short";
    if (wrong) {
        PyErr_SetString(PyExc_ValueError, wrong);
        column_done(column);
        return -1;
    }
    column->sort = (char)sort;
    return 0;
}

static PyObject *accumulator_add(PyObject *object, PyObject *arguments) {
    Accumulator *self = (Accumulator *)object;
    Column column;
    int failed = 0;
    if (column_from(arguments, &column, NULL) < 0) return NULL;
    if (self->busy) {
        PyErr_SetString(PyExc_ValueError, "another thread is adding");
        column_done(&column);
        return NULL;
    }
    self->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    failed = take_in_column(self, column.sort, column.data.buf, column.valid.buf, column.offset, column.length) < 0;
    Py_END_ALLOW_THREADS
    self->busy = 0;
    column_done(&column);
    return failed ? PyErr_NoMemory() : Py_NewRef(Py_None);
}

static PyObject *whole(const uint64_t *limbs) {
    return PyBytes_FromStringAndSize((const char *)limbs, LIMBS * sizeof(uint64_t));
}

static PyObject *accumulator_result(PyObject *object, PyObject *Py_UNUSED(none)) {
    Accumulator *self = (Accumulator *)object;
    if (self->busy) {
        PyErr_SetString(PyExc_ValueError, "another thread is adding");
        return NULL;
    }
    settle(self);
    Bucket *buckets = sorted_buckets(self);
    uint8_t *registers = NULL;
    if (!buckets) return PyErr_NoMemory();
    int64_t n = self->used;
    uint64_t plus[LIMBS], minus[LIMBS], squares[LIMBS]; /* what the table adds is not kept: there may be more rows */
    memcpy(plus, self->plus, sizeof plus);
    memcpy(minus, self->minus, sizeof minus);
    memcpy(squares, self->squares, sizeof squares);
    int shift = self->shift;
    PyObject *hyperloglog = NULL;
    if (shift) {
        flush(self);
        registers = self->registers;
    } else {
        if (n > self->limit) {
            registers = calloc(1, REGISTERS);
            if (!registers) {
                free(buckets);
                return PyErr_NoMemory();
            }
        }
        take_in_values(self, buckets, n, registers);
    }
    PyObject *sums[3] = {whole(self->plus), whole(self->minus), whole(self->squares)};
    if (!shift) {
        memcpy(self->plus, plus, sizeof plus);
        memcpy(self->minus, minus, sizeof minus);
        memcpy(self->squares, squares, sizeof squares);
    }
    if (registers) hyperloglog = PyBytes_FromStringAndSize((const char *)registers, REGISTERS);
    else hyperloglog = Py_NewRef(Py_None);
    if (registers != self->registers) free(registers);
    shift += collapse(buckets, &n, self->limit);
    PyObject *keys = PyBytes_FromStringAndSize(NULL, n * 8), *counts = PyBytes_FromStringAndSize(NULL, n * 8);
    if (keys && counts) {
        uint64_t *key = (uint64_t *)PyBytes_AsString(keys), *count = (uint64_t *)PyBytes_AsString(counts);
        for (int64_t i = 0; i < n; i++) {
            key[i] = buckets[i].key;
            count[i] = buckets[i].count;
        }
    }
    free(buckets);
    double least = 0, greatest = 0;
    if (self->count) {
        uint64_t low = bits_of(self->least), high = bits_of(self->greatest);
        memcpy(&least, &low, 8);
        memcpy(&greatest, &high, 8);
    }
    if (!sums[0] || !sums[1] || !sums[2] || !hyperloglog || !keys || !counts) {
        for (int i = 0; i < 3; i++) Py_XDECREF(sums[i]);
        Py_XDECREF(hyperloglog);
        Py_XDECREF(keys);
        Py_XDECREF(counts);
        return NULL;
    }
    return Py_BuildValue("(LLLLLdd(NNN)(iNN)N)", (long long)self->count, (long long)self->zeros, (long long)self->nans,
                         (long long)self->positive, (long long)self->negative, least, greatest, sums[0], sums[1],
                         sums[2], shift, keys, counts, hyperloglog);
}

static PyObject *accumulator_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    static char *names[] = {"limit", NULL};
    long long limit;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "L:Accumulator", names, &limit)) return NULL;
    if (limit < 2 || limit > 1 << 24) {
        PyErr_SetString(PyExc_ValueError, "the limit of buckets must be 2 to 2^24");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Accumulator *self = (Accumulator *)allocate(type, 0);
    if (!self) return NULL;
    self->limit = limit;
    self->log_most = 66 - __builtin_clzll((uint64_t)limit - 1); /* room for four times the limit */
    self->log_size = self->log_most < 8 ? self->log_most : 8;
    self->least = UINT64_MAX;
    self->table = new_table(self->log_size);
    if (!self->table) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void accumulator_dealloc(PyObject *object) {
    Accumulator *self = (Accumulator *)object;
    PyTypeObject *type = Py_TYPE(object);
    free(self->table);
    free(self->near);
    free(self->sums);
    free(self->registers);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef accumulator_methods[] = {
    {"add", accumulator_add, METH_VARARGS,
     "add(sort, numbers, validity, offset, length)\n\nTake in a column; sort is its type as in the struct module."},
    {"result", accumulator_result, METH_NOARGS, "All that was kept, as a tuple; more rows may follow."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot accumulator_slots[] = {{Py_tp_new, accumulator_new},
                                          {Py_tp_dealloc, accumulator_dealloc},
                                          {Py_tp_methods, accumulator_methods},
                                          {Py_tp_doc, "Accumulator(limit)\n\nKeeps numbers in at most `limit` buckets."},
                                          {0, NULL}};

static PyType_Spec accumulator_spec = {"driftline.kernels._native.Accumulator", sizeof(Accumulator), 0,
                                       Py_TPFLAGS_DEFAULT, accumulator_slots};

/* -- strings ---------------------------------------------------------------------------------------------------- */

/* The bytes of a text from `text` on, at most eight, the rest zero; `end` is where the memory ends. */
static inline uint64_t word_at(const uint8_t *text, int64_t length, const uint8_t *end) {
    uint64_t word = 0;
    if (__builtin_expect(end - text >= 8, 1)) {
        memcpy(&word, text, 8);
        return length >= 8 ? word : length ? word & (UINT64_MAX >> (64 - 8 * length)) : 0;
    }
    memcpy(&word, text, (size_t)(length < 8 ? length : 8));
    return word;
}

static inline uint64_t hash_bytes(const uint8_t *text, int64_t length, const uint8_t *end) {
    uint64_t hash = 0, power = 1;
    for (int64_t rest = length; rest > 0; rest -= 8, text += 8) {
        hash += mixed(word_at(text, rest, end) ^ GAMMA) * power;
        power *= GAMMA;
    }
    return mixed(hash + (uint64_t)length + GAMMA);
}

typedef struct { /* strings one after the other, and where they begin and end */
    Py_buffer data, offsets;
    Py_ssize_t count;
} Strings;

static void strings_done(Strings *strings) {
    PyBuffer_Release(&strings->data);
    PyBuffer_Release(&strings->offsets);
}

static int strings_from(PyObject *arguments, Strings *strings) {
    if (!PyArg_ParseTuple(arguments, "y*y*", &strings->data, &strings->offsets)) return -1;
    const int64_t *at = strings->offsets.buf;
    Py_ssize_t n = strings->count = strings->offsets.len / 8 - 1;
    int inside = n >= 0 && (uintptr_t)at % 8 == 0 && at[0] >= 0 && at[n] <= strings->data.len;
    for (Py_ssize_t i = 0; inside && i < n; i++) inside = at[i] <= at[i + 1];
    if (inside) return 0;
    PyErr_SetString(PyExc_ValueError, "the offsets do not fit the bytes of the strings");
    strings_done(strings);
    return -1;
}

static PyObject *hash_strings(PyObject *Py_UNUSED(module), PyObject *arguments) {
    Strings strings;
    if (strings_from(arguments, &strings) < 0) return NULL;
    PyObject *answer = PyBytes_FromStringAndSize(NULL, strings.count * 8);
    if (answer) {
        uint64_t *hashes = (uint64_t *)PyBytes_AsString(answer);
        const int64_t *at = strings.offsets.buf;
        const uint8_t *data = strings.data.buf, *end = data + strings.data.len;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < strings.count; i++) hashes[i] = hash_bytes(data + at[i], at[i + 1] - at[i], end);
        Py_END_ALLOW_THREADS
    }
    strings_done(&strings);
    return answer;
}

/* How a text is spelled: 0 string, 1 integral, 2 fractional, 3 boolean; the patterns are those of texts.py. */
static uint8_t spelling(const uint8_t *text, int64_t n) {
    int64_t at = 0, digits;
    if (n == 4 && !memcmp(text, "true", 4)) return 3;
    if (n == 5 && !memcmp(text, "false", 5)) return 3;
    if (at < n && (text[at] == '-' || text[at] == '+')) at++;
    if (at < n && text[at] == ' ') at++;
    for (digits = at; at < n && text[at] >= '0' && text[at] <= '9';) at++;
    if (at == digits) return 0;
    if (at == n) return 1;
    if (text[at] == '.') {
        for (digits = ++at; at < n && text[at] >= '0' && text[at] <= '9';) at++;
        if (at == digits) return 0;
    }
    if (at < n && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        if (at < n && (text[at] == '-' || text[at] == '+')) at++;
        for (digits = at; at < n && text[at] >= '0' && text[at] <= '9';) at++;
        if (at == digits) return 0;
    }
    return at == n ? 2 : 0;
}

static PyObject *spellings(PyObject *Py_UNUSED(module), PyObject *arguments) {
    Strings strings;
    if (strings_from(arguments, &strings) < 0) return NULL;
    PyObject *answer = PyBytes_FromStringAndSize(NULL, strings.count);
    if (answer) {
        uint8_t *kinds = (uint8_t *)PyBytes_AsString(answer);
        const int64_t *at = strings.offsets.buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < strings.count; i++)
            kinds[i] = spelling((const uint8_t *)strings.data.buf + at[i], at[i + 1] - at[i]);
        Py_END_ALLOW_THREADS
    }
    strings_done(&strings);
    return answer;
}

/* Whether a word has a byte that no number is spelled with: a letter other than e and E, or none of ASCII. */
static inline uint64_t no_number(uint64_t word) {
    const uint64_t each = 0x0101010101010101ULL;
    uint64_t other = (word | 0x20 * each) ^ 0x65 * each; /* zero where the byte is e or E */
    uint64_t differs = (((other & 0x7F * each) + 0x7F * each) | other) & (0x80 * each);
    return (((word << 1) & differs) | word) & (0x80 * each);
}

/* -- frequent texts --------------------------------------------------------------------------------------------- */

/* The table of driftline/kernels/heavy.py. Rows wait until there are WAITING, and are then sorted by cell. STACK keys
 * of a cell at a time are added as a processor adds, all bits of theirs at once, in one word for each digit of the
 * counts; at last the digits are added to the counters. */
#define TABLE_ROWS 2
#define BUCKETS 128
#define BITS 160 /* of a key, those that are used */
#define SKETCH_ROWS 3
#define SKETCH_WIDTH 1024
#define CELLS (TABLE_ROWS * BUCKETS)
#define TABLE (CELLS * (1 + BITS) + SKETCH_ROWS * SKETCH_WIDTH)
#define STACK 8
#define DIGITS 16
#define WAITING 4096

typedef uint64_t Key __attribute__((vector_size(32), aligned(8)));

typedef struct {
    Key digits[DIGITS];
    uint32_t rows; /* since the digits were added to the counters */
} Cell;

typedef struct {
    Cell cells[CELLS];
    Key keys[WAITING + 1]; /* of the rows that wait; the last one is zero */
    uint8_t buckets[TABLE_ROWS][WAITING];
    int waiting;
} Cells;

DISPATCHED static void add_digits(Cell *cell, int64_t *counters) {
    int digits = 0;
    while (digits < DIGITS && cell->rows >> digits) digits++;
    *counters++ += cell->rows;
    for (int bit = 0; bit < BITS; bit += 32) {
        uint32_t sums[32] = {0};
        for (int digit = 0; digit < digits; digit++) {
            const uint32_t bits = (uint32_t)(cell->digits[digit][bit / 64] >> (bit % 64));
            for (int i = 0; i < 32; i++) sums[i] += ((bits >> i) & 1) << digit;
        }
        for (int i = 0; i < 32; i++) counters[bit + i] += sums[i];
    }
    memset(cell->digits, 0, sizeof cell->digits);
    cell->rows = 0;
}

/* Adds two bits to a digit, for all bits of keys at once, and gives the higher digit. */
#define CARRIED(carry, digit, one, other)                           \
    do {                                                            \
        const Key a = (one), b = (other), either = (digit) ^ a;     \
        carry = ((digit) & a) | (either & b);                       \
        digit = either ^ b;                                         \
    } while (0)

/* Adds the keys of some rows to a cell; `rows` goes on to a multiple of STACK. */
DISPATCHED static void add_keys(Cell *cell, const Key *keys, const uint16_t *rows, int n) {
    Key first = cell->digits[0], second = cell->digits[1], third = cell->digits[2], two[4], four[2], carry;
    for (int at = 0; at < n; at += STACK, rows += STACK) {
        for (int pair = 0; pair < 4; pair++) CARRIED(two[pair], first, keys[rows[2 * pair]], keys[rows[2 * pair + 1]]);
        for (int half = 0; half < 2; half++) CARRIED(four[half], second, two[2 * half], two[2 * half + 1]);
        CARRIED(carry, third, four[0], four[1]);
        for (int i = 3; i < DIGITS && (carry[0] | carry[1] | carry[2]); i++) {
            const Key before = cell->digits[i];
            cell->digits[i] = before ^ carry;
            carry &= before;
        }
    }
    cell->digits[0] = first;
    cell->digits[1] = second;
    cell->digits[2] = third;
    cell->rows += (uint32_t)n;
}

static void add_waiting(Cells *cells, int64_t *table) {
    uint16_t sorted[WAITING + BUCKETS * STACK];
    for (int row = 0; row < TABLE_ROWS; row++) {
        const uint8_t *buckets = cells->buckets[row];
        int counts[BUCKETS] = {0}, begins[BUCKETS], at = 0;
        for (int i = 0; i < cells->waiting; i++) counts[buckets[i]]++;
        for (int bucket = 0; bucket < BUCKETS; bucket++) {
            begins[bucket] = at;
            at += (counts[bucket] + STACK - 1) / STACK * STACK;
        }
        for (int i = 0; i < at; i++) sorted[i] = WAITING;
        for (int i = 0; i < cells->waiting; i++) sorted[begins[buckets[i]]++] = (uint16_t)i;
        for (int bucket = 0; bucket < BUCKETS; bucket++) {
            Cell *cell = cells->cells + row * BUCKETS + bucket;
            const int n = counts[bucket];
            if (n) add_keys(cell, cells->keys, sorted + begins[bucket] - n, n);
            if (cell->rows >= (1 << DIGITS) - WAITING) add_digits(cell, table + (row * BUCKETS + bucket) * (1 + BITS));
        }
    }
    cells->waiting = 0;
}

static inline void take_in_key(Cells *cells, int64_t *table, uint64_t first, uint64_t second, uint64_t hash) {
    const uint64_t low = hash & UINT32_MAX, spread = mixed(low + GAMMA);
    const int at = cells->waiting++;
    cells->keys[at] = (Key){first, second, low, 0};
    for (int row = 0; row < TABLE_ROWS; row++)
        cells->buckets[row][at] = (spread >> (57 - 7 * row)) & (BUCKETS - 1);
    int64_t *sketch = table + CELLS * (1 + BITS);
    for (int row = 0; row < SKETCH_ROWS; row++)
        sketch[row * SKETCH_WIDTH + ((spread >> (10 * row)) & (SKETCH_WIDTH - 1))]++;
    if (__builtin_expect(at == WAITING - 1, 0)) add_waiting(cells, table);
}

/* Adds all that waits to the table. */
static void settle_cells(Cells *cells, int64_t *table) {
    add_waiting(cells, table);
    for (int at = 0; at < CELLS; at++)
        if (cells->cells[at].rows) add_digits(cells->cells + at, table + at * (1 + BITS));
}

DISPATCHED static void add_counted(int64_t *counters, const uint64_t *key, int64_t count) {
    *counters++ += count;
    for (int bit = 0; bit < BITS; bit += 32) {
        const uint32_t bits = (uint32_t)(key[bit / 64] >> (bit % 64));
        for (int i = 0; i < 32; i++) counters[bit + i] += count & -(int64_t)((bits >> i) & 1);
    }
}

static PyObject *add_counts(PyObject *Py_UNUSED(module), PyObject *arguments) {
    Py_buffer words, counts, table;
    if (!PyArg_ParseTuple(arguments, "y*y*w*", &words, &counts, &table)) return NULL;
    const Py_ssize_t n = counts.len / 8;
    const int fits = words.len == 3 * counts.len && counts.len % 8 == 0 && table.len == TABLE * 8 &&
                     !(((uintptr_t)words.buf | (uintptr_t)counts.buf | (uintptr_t)table.buf) % 8);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < n; i++) {
            const uint64_t *word = (const uint64_t *)words.buf + i, key[3] = {word[0], word[n], word[2 * n]};
            const uint64_t spread = mixed((key[2] & UINT32_MAX) + GAMMA);
            const int64_t count = ((const int64_t *)counts.buf)[i];
            int64_t *own = table.buf;
            for (int row = 0; row < TABLE_ROWS; row++, own += BUCKETS * (1 + BITS))
                add_counted(own + ((spread >> (57 - 7 * row)) & (BUCKETS - 1)) * (1 + BITS), key, count);
            for (int row = 0; row < SKETCH_ROWS; row++, own += SKETCH_WIDTH)
                own[(spread >> (10 * row)) & (SKETCH_WIDTH - 1)] += count;
        }
        Py_END_ALLOW_THREADS
    } else PyErr_SetString(PyExc_ValueError, "not three words of so many keys, their counts and a table");
    PyBuffer_Release(&words);
    PyBuffer_Release(&counts);
    PyBuffer_Release(&table);
    return fits ? Py_NewRef(Py_None) : NULL;
}

typedef struct { /* a sample of texts: rows by their spelling, and those that are looked at one by one */
    int64_t kinds[4], chosen, numbers;
    int64_t *rows, *numerals;
} Sample;

#define SAMPLE(type)                                                                                  \
    do {                                                                                              \
        const type *begins = (const type *)offsets + offset;                                          \
        for (int64_t i = 0; i < length; i++) {                                                        \
            int64_t at = offset + i, first = begins[i], last = begins[i + 1];                         \
            if (valid && !((valid[at >> 3] >> (at & 7)) & 1)) continue;                               \
            if (first < 0 || last < first || last > end - data) return -1;                            \
            const int64_t n = last - first;                                                           \
            const uint8_t *text = data + first;                                                       \
            uint64_t hash = 0, power = 1, letters = 0, words[3] = {0, 0, 0};                          \
            int word = 0;                                                                             \
            for (int64_t rest = n; rest > 0; rest -= 8, text += 8) {                                  \
                words[word] = word_at(text, rest, end);                                               \
                letters |= no_number(words[word]);                                                    \
                hash += mixed(words[word] ^ GAMMA) * power;                                           \
                power *= GAMMA;                                                                       \
                word += word < 2;                                                                     \
            }                                                                                         \
            hash = mixed(hash + (uint64_t)n + GAMMA);                                                 \
            observe(registers, hash >> (64 - LOG_REGISTERS), rank_of(hash));                          \
            take_in_key(cells, table, words[0], words[1], hash);                                      \
            int kind = letters && n != 4 && n != 5 ? 0 : spelling(data + first, n);                   \
            sample->kinds[kind]++;                                                                    \
            if (__builtin_expect(hash < bound, 0)) sample->rows[sample->chosen++] = i;                \
            if (kind == 1 || kind == 2) sample->numerals[sample->numbers++] = i;                      \
        }                                                                                             \
    } while (0)

static int sample_them(int wide, const void *offsets, const uint8_t *data, const uint8_t *end, const uint8_t *valid,
                       int64_t offset, int64_t length, uint64_t bound, uint8_t *registers, Cells *cells, int64_t *table,
                       Sample *sample) {
    if (wide) SAMPLE(int64_t);
    else SAMPLE(int32_t);
    return 0;
}

static PyObject *sample_strings(PyObject *Py_UNUSED(module), PyObject *arguments) {
    Py_buffer offsets, data, registers, table, valid = {0};
    PyObject *mask, *answer = NULL;
    Sample sample = {0};
    Cells *cells = NULL;
    long long offset, length, level;
    int sort, failed = 0;
    if (!PyArg_ParseTuple(arguments, "Cy*OLLLy*w*w*", &sort, &offsets, &mask, &offset, &length, &level, &data,
                          &registers, &table))
        return NULL;
    if (mask != Py_None && PyObject_GetBuffer(mask, &valid, PyBUF_SIMPLE) < 0) goto done;
    const long long width = sort == 'q' ? 8 : 4;
    if ((sort != 'q' && sort != 'i') || level < 1 || level > 63 || registers.len != REGISTERS ||
        table.len != TABLE * 8 || (uintptr_t)table.buf % 8 || offset < 0 || length < 0 ||
        (uintptr_t)offsets.buf % (uintptr_t)width || offset > offsets.len / width - 1 ||
        length > offsets.len / width - 1 - offset || (valid.obj && (offset + length + 7) / 8 > valid.len)) {
        PyErr_SetString(PyExc_ValueError, "not the offsets of so many texts, a level from 1 to 63, all registers and a "
                                         "table");
        goto done;
    }
    sample.rows = malloc(sizeof(int64_t) * (size_t)(length + 1));
    sample.numerals = malloc(sizeof(int64_t) * (size_t)(length + 1));
    cells = calloc(1, sizeof(Cells));
    if (!sample.rows || !sample.numerals || !cells) {
        PyErr_NoMemory();
        goto done;
    }
    const uint8_t *text = data.buf;
    Py_BEGIN_ALLOW_THREADS
    failed = sample_them(sort == 'q', offsets.buf, text, text + data.len, valid.buf, offset, length,
                         1ULL << (64 - level), registers.buf, cells, table.buf, &sample) < 0;
    settle_cells(cells, table.buf);
    Py_END_ALLOW_THREADS
    if (failed) PyErr_SetString(PyExc_ValueError, "the offsets do not fit the bytes of the texts");
    else
        answer = Py_BuildValue("(LLLL)y#y#", (long long)sample.kinds[0], (long long)sample.kinds[1],
                               (long long)sample.kinds[2], (long long)sample.kinds[3], (const char *)sample.rows,
                               (Py_ssize_t)(sample.chosen * 8), (const char *)sample.numerals,
                               (Py_ssize_t)(sample.numbers * 8));
done:
    free(cells);
    free(sample.rows);
    free(sample.numerals);
    if (valid.obj) PyBuffer_Release(&valid);
    PyBuffer_Release(&offsets);
    PyBuffer_Release(&data);
    PyBuffer_Release(&registers);
    PyBuffer_Release(&table);
    return answer;
}

static PyObject *registers_of(PyObject *Py_UNUSED(module), PyObject *argument) {
    Py_buffer hashes;
    if (PyObject_GetBuffer(argument, &hashes, PyBUF_SIMPLE) < 0) return NULL;
    PyObject *answer = PyBytes_FromStringAndSize(NULL, REGISTERS);
    if (answer) {
        uint8_t *registers = (uint8_t *)PyBytes_AsString(answer);
        memset(registers, 0, REGISTERS);
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < hashes.len / 8; i++) {
            uint64_t hash;
            memcpy(&hash, (const char *)hashes.buf + 8 * i, 8);
            observe(registers, hash >> (64 - LOG_REGISTERS), rank_of(hash));
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&hashes);
    return answer;
}

#define COUNT(type)                                                                    \
    do {                                                                               \
        const type *code = (const type *)codes + offset;                               \
        for (int64_t i = 0; i < length; i++) {                                         \
            int64_t at = offset + i;                                                   \
            if (valid && !((valid[at >> 3] >> (at & 7)) & 1)) continue;                \
            if ((uint64_t)code[i] >= (uint64_t)size) return -1;                        \
            counts[code[i]]++;                                                         \
        }                                                                              \
    } while (0)

static int count_them(char sort, const void *codes, const uint8_t *valid, int64_t offset, int64_t length,
                      int64_t *counts, int64_t size) {
    switch (sort) {
        case 'b': COUNT(int8_t); break;
        case 'B': COUNT(uint8_t); break;
        case 'h': COUNT(int16_t); break;
        case 'H': COUNT(uint16_t); break;
        case 'i': COUNT(int32_t); break;
        case 'I': COUNT(uint32_t); break;
        case 'q': COUNT(int64_t); break;
        default: COUNT(uint64_t);
    }
    return 0;
}

static PyObject *count_codes(PyObject *Py_UNUSED(module), PyObject *arguments) {
    Column column;
    long long size;
    PyObject *answer = NULL;
    if (column_from(arguments, &column, &size) < 0) return NULL;
    if (size < 0 || size > INT64_MAX / 8 || column.sort == 'f' || column.sort == 'd')
        PyErr_SetString(PyExc_ValueError, "codes are integers, and their number is not negative");
    else answer = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size * 8);
    if (answer) {
        int64_t *counts = (int64_t *)PyBytes_AsString(answer);
        int failed;
        memset(counts, 0, (size_t)size * 8);
        Py_BEGIN_ALLOW_THREADS
        failed = count_them(column.sort, column.data.buf, column.valid.buf, column.offset, column.length, counts, size);
        Py_END_ALLOW_THREADS
        if (failed) {
            PyErr_SetString(PyExc_ValueError, "a code is outside of its dictionary");
            Py_CLEAR(answer);
        }
    }
    column_done(&column);
    return answer;
}

static PyMethodDef functions[] = {
    {"add_counts", add_counts, METH_VARARGS,
     "add_counts(words, counts, table)\n\nAdds keys to a table, each as often as it was counted."},
    {"count_codes", count_codes, METH_VARARGS,
     "count_codes(sort, codes, validity, offset, length, size)\n\nHow often each code from 0 to size stands, as bytes."},
    {"hash_strings", hash_strings, METH_VARARGS,
     "hash_strings(data, offsets)\n\nThe 64-bit hashes of strings, as bytes."},
    {"sample_strings", sample_strings, METH_VARARGS,
     "sample_strings(sort, offsets, validity, offset, length, level, data, registers, table)\n\nHow many texts are spelled "
     "in which way, which rows are of the level, and which are numbers; all go into registers and table."},
    {"spellings", spellings, METH_VARARGS,
     "spellings(data, offsets)\n\nHow strings are spelled, as bytes: 0 string, 1 integral, 2 fractional, 3 boolean."},
    {"registers_of", registers_of, METH_O, "registers_of(hashes)\n\nThe registers of values with these hashes."},
    {NULL, NULL, 0, NULL}};

static int prepare(PyObject *module) {
    wide_registers = WIDE_REGISTERS() != 0;
    PyObject *type = PyType_FromSpec(&accumulator_spec);
    if (!type) return -1;
    int failed = PyModule_AddObjectRef(module, "Accumulator", type);
    Py_DECREF(type);
    return failed < 0 ? -1 : PyModule_AddIntConstant(module, "FORM", FORM);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, prepare}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "The compiled kernel.", 0, functions, slots,
                                        NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    /* Strings are read as little-endian words, and tables are handed over as they lie in memory. */
    const uint16_t one = 1;
    if (*(const uint8_t *)&one != 1) {
        PyErr_SetString(PyExc_ImportError, "the compiled kernel needs a little-endian processor");
        return NULL;
    }
    return PyModuleDef_Init(&definition);
}
