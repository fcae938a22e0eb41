/* Batch normalization of float32 values on the CPU: the arithmetic of moments.py in two passes over memory forward
 * and two backward, with sums in float64. The signatures are repeated in core.py.
 *
 * x, y, dy, dx are (N, S, L), positions next to each other; channels_last memory is (N * L, S, 1). The others are
 * (S,). A null weight counts as 1, a null bias as 0. Functions return nonzero where memory ran out.
 *
 * Threads share the channels, so the sums of one are the same whatever their number: what is written for C
 * channels of S works on a thread's part, whose pointers begin at its first channel.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#define WIDTH 8 /* channels that are summed side by side */
#define TILE 8192 /* values that stay in the cache while all channels of some rows are summed */
#define LINE 16 /* values of a cache line, which two threads should not both write to */
#define MOST_THREADS 64
typedef float Narrow __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef double Wide __attribute__((vector_size(WIDTH * sizeof(double))));

typedef struct {
    double sum, squares;
} Sums;

typedef struct {
    long N, C, S, L;
} Shape;

static inline Wide widened(const float *x) { return __builtin_convertvector(*(const Narrow *)x, Wide); }

static inline long tile_rows(long S) { return S < TILE ? TILE / S : 1; }

/* Sums of d = x - pivot and of d^2. The pivot, a value of the channel, keeps E[d^2] - E[d]^2 from cancelling. */
static void sum_planes(const float *x, Shape s, Sums *sums) {
    for (long n = 0; n < s.N; n++)
        for (long c = 0; c < s.C; c++) {
            const float *plane = x + (n * s.S + c) * s.L;
            const double pivot = x[c * s.L];
            double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum, squares)
            for (long i = 0; i < s.L; i++) {
                const double d = plane[i] - pivot;
                sum += d;
                squares += d * d;
            }
            sums[c].sum += sum;
            sums[c].squares += squares;
        }
}

/* Rows: the same sums for WIDTH channels side by side, which stay in registers over the rows of a tile. */
static void sum_row_block(const float *x, const float *pivots, long rows, long S, Sums *sums) {
    const Wide pivot = widened(pivots);
    Wide sum = {0}, squares = {0};
    for (long n = 0; n < rows; n++) {
        const Wide d = widened(x + n * S) - pivot;
        sum += d;
        squares += d * d;
    }
    for (long k = 0; k < WIDTH; k++) {
        sums[k].sum += sum[k];
        sums[k].squares += squares[k];
    }
}

static void sum_rows(const float *x, Shape s, Sums *sums) {
    const float *pivots = x;
    const long tile = tile_rows(s.S);
    for (long n = 0; n < s.N; n += tile) {
        const long rows = s.N - n < tile ? s.N - n : tile;
        const float *first = x + n * s.S;
        long c = 0;
        for (; c + WIDTH <= s.C; c += WIDTH) sum_row_block(first + c, pivots + c, rows, s.S, sums + c);
        for (; c < s.C; c++)
            for (long i = 0; i < rows; i++) {
                const double d = first[i * s.S + c] - (double)pivots[c];
                sums[c].sum += d;
                sums[c].squares += d * d;
            }
    }
}

/* y = (x - mean) * scale + bias; the mean in two parts, so that its rounding does not show in y. */
static void apply(const float *x, Shape s, const float *mean, const float *rest, const float *scale,
                  const float *bias, float *y) {
    if (s.L == 1) {
        for (long n = 0; n < s.N; n++, x += s.S, y += s.S)
#pragma omp simd
            for (long c = 0; c < s.C; c++) y[c] = ((x[c] - mean[c]) - rest[c]) * scale[c] + bias[c];
        return;
    }
    for (long n = 0; n < s.N; n++, x += s.S * s.L, y += s.S * s.L)
        for (long c = 0; c < s.C; c++) {
            const float m = mean[c], r = rest[c], a = scale[c], b = bias[c], *from = x + c * s.L;
            float *to = y + c * s.L;
#pragma omp simd
            for (long i = 0; i < s.L; i++) to[i] = ((from[i] - m) - r) * a + b;
        }
}

/* Sums of dy and of dy * (x - mean). */
static void products_planes(const float *dy, const float *x, Shape s, const float *mean, Sums *sums) {
    for (long n = 0; n < s.N; n++, dy += s.S * s.L, x += s.S * s.L)
        for (long c = 0; c < s.C; c++) {
            const float m = mean[c], *d = dy + c * s.L, *v = x + c * s.L;
            double sum = 0, products = 0;
#pragma omp simd reduction(+ : sum, products)
            for (long i = 0; i < s.L; i++) {
                sum += d[i];
                products += (double)d[i] * (v[i] - m);
            }
            sums[c].sum += sum;
            sums[c].squares += products;
        }
}

static void products_row_block(const float *dy, const float *x, long rows, long S, const float *mean, Sums *sums) {
    const Narrow centre = *(const Narrow *)mean;
    Wide sum = {0}, products = {0};
    for (long n = 0; n < rows; n++) {
        const Wide d = widened(dy + n * S);
        sum += d;
        products += d * __builtin_convertvector(*(const Narrow *)(x + n * S) - centre, Wide);
    }
    for (long k = 0; k < WIDTH; k++) {
        sums[k].sum += sum[k];
        sums[k].squares += products[k];
    }
}

static void products_rows(const float *dy, const float *x, Shape s, const float *mean, Sums *sums) {
    const long tile = tile_rows(s.S);
    for (long n = 0; n < s.N; n += tile, dy += tile * s.S, x += tile * s.S) {
        const long rows = s.N - n < tile ? s.N - n : tile;
        long c = 0;
        for (; c + WIDTH <= s.C; c += WIDTH) products_row_block(dy + c, x + c, rows, s.S, mean + c, sums + c);
        for (; c < s.C; c++)
            for (long i = 0; i < rows; i++) {
                sums[c].sum += dy[i * s.S + c];
                sums[c].squares += (double)dy[i * s.S + c] * (x[i * s.S + c] - mean[c]);
            }
    }
}

/* dx = a * dy + b * (x - mean) + c0 */
static void combine(const float *dy, const float *x, Shape s, const float *mean, const float *a, const float *b,
                    const float *c0, float *dx) {
    if (s.L == 1) {
        for (long n = 0; n < s.N; n++, dy += s.S, x += s.S, dx += s.S)
#pragma omp simd
            for (long c = 0; c < s.C; c++) dx[c] = a[c] * dy[c] + (b[c] * (x[c] - mean[c]) + c0[c]);
        return;
    }
    for (long n = 0; n < s.N; n++, dy += s.S * s.L, x += s.S * s.L, dx += s.S * s.L)
        for (long c = 0; c < s.C; c++) {
            const float m = mean[c], p = a[c], q = b[c], r = c0[c], *d = dy + c * s.L, *v = x + c * s.L;
            float *to = dx + c * s.L;
#pragma omp simd
            for (long i = 0; i < s.L; i++) to[i] = p * d[i] + (q * (v[i] - m) + r);
        }
}

typedef struct Part Part;
struct Part {
    int (*work)(const Part *);
    Shape shape;
    const float *dy, *x, *weight, *bias, *given_mean, *given_rstd;
    double eps;
    float *result, *mean, *var, *rstd, *dweight, *dbias;
    int failed;
};

static int by_batch_part(const Part *p) {
    const Shape s = p->shape;
    Sums *sums = calloc(s.C, sizeof(Sums) + 3 * sizeof(float));
    if (!sums) return 1;
    float *rest = (float *)(sums + s.C), *scale = rest + s.C, *shift = scale + s.C;
    if (s.L == 1)
        sum_rows(p->x, s, sums);
    else
        sum_planes(p->x, s, sums);
    const double n = (double)s.N * s.L;
    for (long c = 0; c < s.C; c++) {
        const double off = sums[c].sum / n, exact = p->x[c * s.L] + off;
        const double biased = sums[c].squares / n - off * off;
        p->mean[c] = (float)exact;
        rest[c] = isfinite(exact) ? (float)(exact - p->mean[c]) : 0;
        p->var[c] = (float)(biased < 0 ? 0 : biased);
        p->rstd[c] = (float)(1 / sqrt((biased < 0 ? 0 : biased) + p->eps));
        scale[c] = p->weight ? p->rstd[c] * p->weight[c] : p->rstd[c];
        shift[c] = p->bias ? p->bias[c] : 0;
    }
    apply(p->x, s, p->mean, rest, scale, shift, p->result);
    free(sums);
    return 0;
}

static int gradients_part(const Part *p) {
    const Shape s = p->shape;
    Sums *sums = calloc(s.C, sizeof(Sums) + 3 * sizeof(float));
    if (!sums) return 1;
    float *a = (float *)(sums + s.C), *b = a + s.C, *c0 = b + s.C;
    if (s.L == 1)
        products_rows(p->dy, p->x, s, p->given_mean, sums);
    else
        products_planes(p->dy, p->x, s, p->given_mean, sums);
    const double n = (double)s.N * s.L;
    for (long c = 0; c < s.C; c++) {
        const double rstd = p->given_rstd[c], slope = p->weight ? rstd * p->weight[c] : rstd;
        const double of_weight = sums[c].squares * rstd;
        p->dweight[c] = (float)of_weight;
        p->dbias[c] = (float)sums[c].sum;
        a[c] = (float)slope;
        b[c] = (float)(-slope * rstd * of_weight / n);
        c0[c] = (float)(-slope * sums[c].sum / n);
    }
    if (p->result) combine(p->dy, p->x, s, p->given_mean, a, b, c0, p->result);
    free(sums);
    return 0;
}

static void *run(void *part) {
    ((Part *)part)->failed = ((Part *)part)->work(part);
    return NULL;
}

#define AT(pointer, step) ((pointer) ? (pointer) + (step) : NULL)

/* The part of `whole` with C channels from `first` on. */
static Part part_of(const Part *whole, long first, long C) {
    Part p = *whole;
    p.shape.C = C;
    p.dy = AT(p.dy, first * p.shape.L), p.x = AT(p.x, first * p.shape.L), p.result = AT(p.result, first * p.shape.L);
    p.weight = AT(p.weight, first), p.bias = AT(p.bias, first);
    p.given_mean = AT(p.given_mean, first), p.given_rstd = AT(p.given_rstd, first);
    p.mean = AT(p.mean, first), p.var = AT(p.var, first), p.rstd = AT(p.rstd, first);
    p.dweight = AT(p.dweight, first), p.dbias = AT(p.dbias, first);
    return p;
}

/* Do the work in at most so many threads, this one among them. */
static int shared(const Part *whole, long threads) {
    Part parts[MOST_THREADS];
    pthread_t ids[MOST_THREADS];
    int begun[MOST_THREADS], failed = 0;
    const long C = whole->shape.C, step = whole->shape.L == 1 ? LINE : 1, units = (C + step - 1) / step;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads > units) threads = units;
    for (long t = 0; t < threads; t++) {
        const long first = units * t / threads * step, end = units * (t + 1) / threads * step;
        parts[t] = part_of(whole, first, (end < C ? end : C) - first);
        begun[t] = t + 1 < threads && !pthread_create(&ids[t], NULL, run, &parts[t]);
        if (!begun[t]) run(&parts[t]);
    }
    for (long t = 0; t < threads; t++) {
        if (begun[t]) pthread_join(ids[t], NULL);
        failed |= parts[t].failed;
    }
    return failed;
}

/* Normalize by the batch; writes y, mean, batch_var (biased) and rstd = 1 / sqrt(batch_var + eps). */
int by_batch(const float *x, const float *weight, const float *bias, double eps, long N, long S, long L, long threads,
             float *y, float *mean, float *var, float *rstd) {
    const Part whole = {.work = by_batch_part, .shape = {N, S, S, L}, .x = x, .weight = weight, .bias = bias,
                        .eps = eps, .result = y, .mean = mean, .var = var, .rstd = rstd};
    return shared(&whole, threads);
}

/* The gradients of the batch's own normalization; dx may be null. */
int gradients(const float *dy, const float *x, const float *mean, const float *rstd, const float *weight, long N,
              long S, long L, long threads, float *dx, float *dweight, float *dbias) {
    const Part whole = {.work = gradients_part, .shape = {N, S, S, L}, .dy = dy, .x = x, .weight = weight,
                        .given_mean = mean, .given_rstd = rstd, .result = dx, .dweight = dweight, .dbias = dbias};
    return shared(&whole, threads);
}

static float lerp(float from, float to, double momentum) {
    const float m = (float)momentum;
    return m < 0.5f ? from + m * (to - from) : to - (to - from) * (1 - m);
}

/* Move running statistics towards a batch's mean and unbias * var, as `move` of moments.py does. */
int move(const float *mean, const float *var, double unbias, double momentum, long S, float *running_mean,
         float *running_var) {
    for (long c = 0; c < S; c++) {
        running_mean[c] = lerp(running_mean[c], mean[c], momentum);
        running_var[c] = lerp(running_var[c], var[c] * (float)unbias, momentum);
    }
    return 0;
}
