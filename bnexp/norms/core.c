/* Batch normalization of float32 values on one CPU thread: the arithmetic of moments.py in two passes over memory
 * forward and two backward, with sums in float64. The signatures are repeated in core.py.
 *
 * x, y, dy, dx are (N, C, L), positions next to each other; channels_last memory is (N * L, C, 1). The others are
 * (C,). A null weight counts as 1, a null bias as 0. Functions return nonzero where memory ran out.
 */
#include <math.h>
#include <stdlib.h>

#define WIDTH 8 /* channels that are summed side by side */
#define TILE 8192 /* values that stay in the cache while all channels of some rows are summed */
typedef float Narrow __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef double Wide __attribute__((vector_size(WIDTH * sizeof(double))));

typedef struct {
    double sum, squares;
} Sums;

static inline Wide widened(const float *x) { return __builtin_convertvector(*(const Narrow *)x, Wide); }

static inline long tile_rows(long C) { return C < TILE ? TILE / C : 1; }

/* Sums of d = x - pivot and of d^2. The pivot, a value of the channel, keeps E[d^2] - E[d]^2 from cancelling. */
static void sum_planes(const float *x, long N, long C, long L, Sums *sums) {
    for (long n = 0; n < N; n++)
        for (long c = 0; c < C; c++) {
            const float *plane = x + (n * C + c) * L;
            const double pivot = x[c * L];
            double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum, squares)
            for (long i = 0; i < L; i++) {
                const double d = plane[i] - pivot;
                sum += d;
                squares += d * d;
            }
            sums[c].sum += sum;
            sums[c].squares += squares;
        }
}

/* Rows: the same sums for WIDTH channels side by side, which stay in registers over the rows of a tile. */
static void sum_row_block(const float *x, const float *pivots, long rows, long C, Sums *sums) {
    const Wide pivot = widened(pivots);
    Wide sum = {0}, squares = {0};
    for (long n = 0; n < rows; n++) {
        const Wide d = widened(x + n * C) - pivot;
        sum += d;
        squares += d * d;
    }
    for (long k = 0; k < WIDTH; k++) {
        sums[k].sum += sum[k];
        sums[k].squares += squares[k];
    }
}

static void sum_rows(const float *x, long N, long C, Sums *sums) {
    const float *pivots = x;
    const long tile = tile_rows(C);
    for (long n = 0; n < N; n += tile) {
        const long rows = N - n < tile ? N - n : tile;
        const float *first = x + n * C;
        long c = 0;
        for (; c + WIDTH <= C; c += WIDTH) sum_row_block(first + c, pivots + c, rows, C, sums + c);
        for (; c < C; c++)
            for (long i = 0; i < rows; i++) {
                const double d = first[i * C + c] - (double)pivots[c];
                sums[c].sum += d;
                sums[c].squares += d * d;
            }
    }
}

/* y = (x - mean) * scale + bias; the mean in two parts, so that its rounding does not show in y. */
static void apply(const float *x, long N, long C, long L, const float *mean, const float *rest,
                  const float *scale, const float *bias, float *y) {
    if (L == 1) {
        for (long n = 0; n < N; n++, x += C, y += C)
#pragma omp simd
            for (long c = 0; c < C; c++) y[c] = ((x[c] - mean[c]) - rest[c]) * scale[c] + bias[c];
        return;
    }
    for (long n = 0; n < N; n++)
        for (long c = 0; c < C; c++, x += L, y += L) {
            const float m = mean[c], r = rest[c], s = scale[c], b = bias[c];
#pragma omp simd
            for (long i = 0; i < L; i++) y[i] = ((x[i] - m) - r) * s + b;
        }
}

/* Normalize by the batch; writes y, mean, batch_var (biased) and rstd = 1 / sqrt(batch_var + eps). */
int by_batch(const float *x, const float *weight, const float *bias, double eps, long N, long C, long L, float *y,
             float *mean, float *var, float *rstd) {
    Sums *sums = calloc(C, sizeof(Sums) + 3 * sizeof(float));
    if (!sums) return 1;
    float *rest = (float *)(sums + C), *scale = rest + C, *shift = scale + C;
    if (L == 1)
        sum_rows(x, N, C, sums);
    else
        sum_planes(x, N, C, L, sums);
    const double n = (double)N * L;
    for (long c = 0; c < C; c++) {
        const double off = sums[c].sum / n, exact = x[c * L] + off;
        const double biased = sums[c].squares / n - off * off;
        mean[c] = (float)exact;
        rest[c] = isfinite(exact) ? (float)(exact - mean[c]) : 0;
        var[c] = (float)(biased < 0 ? 0 : biased);
        rstd[c] = (float)(1 / sqrt((biased < 0 ? 0 : biased) + eps));
        scale[c] = weight ? rstd[c] * weight[c] : rstd[c];
        shift[c] = bias ? bias[c] : 0;
    }
    apply(x, N, C, L, mean, rest, scale, shift, y);
    free(sums);
    return 0;
}

/* Sums of dy and of dy * (x - mean). */
static void products_planes(const float *dy, const float *x, long N, long C, long L, const float *mean, Sums *sums) {
    for (long n = 0; n < N; n++)
        for (long c = 0; c < C; c++, dy += L, x += L) {
            const float m = mean[c];
            double sum = 0, products = 0;
#pragma omp simd reduction(+ : sum, products)
            for (long i = 0; i < L; i++) {
                sum += dy[i];
                products += (double)dy[i] * (x[i] - m);
            }
            sums[c].sum += sum;
            sums[c].squares += products;
        }
}

static void products_row_block(const float *dy, const float *x, long rows, long C, const float *mean, Sums *sums) {
    const Narrow centre = *(const Narrow *)mean;
    Wide sum = {0}, products = {0};
    for (long n = 0; n < rows; n++) {
        const Wide d = widened(dy + n * C);
        sum += d;
        products += d * __builtin_convertvector(*(const Narrow *)(x + n * C) - centre, Wide);
    }
    for (long k = 0; k < WIDTH; k++) {
        sums[k].sum += sum[k];
        sums[k].squares += products[k];
    }
}

static void products_rows(const float *dy, const float *x, long N, long C, const float *mean, Sums *sums) {
    const long tile = tile_rows(C);
    for (long n = 0; n < N; n += tile, dy += tile * C, x += tile * C) {
        const long rows = N - n < tile ? N - n : tile;
        long c = 0;
        for (; c + WIDTH <= C; c += WIDTH) products_row_block(dy + c, x + c, rows, C, mean + c, sums + c);
        for (; c < C; c++)
            for (long i = 0; i < rows; i++) {
                sums[c].sum += dy[i * C + c];
                sums[c].squares += (double)dy[i * C + c] * (x[i * C + c] - mean[c]);
            }
    }
}

/* dx = a * dy + b * (x - mean) + c */
static void combine(const float *dy, const float *x, long N, long C, long L, const float *mean, const float *a,
                    const float *b, const float *c0, float *dx) {
    if (L == 1) {
        for (long n = 0; n < N; n++, dy += C, x += C, dx += C)
#pragma omp simd
            for (long c = 0; c < C; c++) dx[c] = a[c] * dy[c] + (b[c] * (x[c] - mean[c]) + c0[c]);
        return;
    }
    for (long n = 0; n < N; n++)
        for (long c = 0; c < C; c++, dy += L, x += L, dx += L) {
            const float m = mean[c], p = a[c], q = b[c], r = c0[c];
#pragma omp simd
            for (long i = 0; i < L; i++) dx[i] = p * dy[i] + (q * (x[i] - m) + r);
        }
}

/* The gradients of the batch's own normalization; dx may be null. */
int gradients(const float *dy, const float *x, const float *mean, const float *rstd, const float *weight, long N,
              long C, long L, float *dx, float *dweight, float *dbias) {
    Sums *sums = calloc(C, sizeof(Sums) + 3 * sizeof(float));
    if (!sums) return 1;
    float *a = (float *)(sums + C), *b = a + C, *c0 = b + C;
    if (L == 1)
        products_rows(dy, x, N, C, mean, sums);
    else
        products_planes(dy, x, N, C, L, mean, sums);
    const double n = (double)N * L;
    for (long c = 0; c < C; c++) {
        const double slope = weight ? (double)rstd[c] * weight[c] : rstd[c], of_weight = sums[c].squares * rstd[c];
        dweight[c] = (float)of_weight;
        dbias[c] = (float)sums[c].sum;
        a[c] = (float)slope;
        b[c] = (float)(-slope * rstd[c] * of_weight / n);
        c0[c] = (float)(-slope * sums[c].sum / n);
    }
    if (dx) combine(dy, x, N, C, L, mean, a, b, c0, dx);
    free(sums);
    return 0;
}

static float lerp(float from, float to, double momentum) {
    const float m = (float)momentum;
    return m < 0.5f ? from + m * (to - from) : to - (to - from) * (1 - m);
}

/* Move running statistics towards a batch's mean and unbias * var, as `move` of moments.py does. */
int move(const float *mean, const float *var, double unbias, double momentum, long C, float *running_mean,
          float *running_var) {
    for (long c = 0; c < C; c++) {
        running_mean[c] = lerp(running_mean[c], mean[c], momentum);
        running_var[c] = lerp(running_var[c], var[c] * (float)unbias, momentum);
    }
    return 0;
}
