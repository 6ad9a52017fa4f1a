/* SPDX-License-Identifier: MIT */
#include "ref_sum.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Four at a time, so that an addition need not wait for the one before. Fetched two pages
 * ahead, as the processor does not look over the end of one by itself: the hunt does
 * that, too. */
#define IN_TURN 4
#define AHEAD	8192

#if defined(__x86_64__)

__attribute__((target("avx512f"))) static uint64_t
sum_512(const void *at, size_t bytes)
{
	const __m512i *from = at;
	__m512i sum[IN_TURN] = { _mm512_setzero_si512(),
				 _mm512_setzero_si512(),
				 _mm512_setzero_si512(),
				 _mm512_setzero_si512() };

	for (size_t i = 0; i < bytes / sizeof(*from); i += IN_TURN) {
		for (size_t k = 0; k < IN_TURN; k++)
			_mm_prefetch((const char *)&from[i + k] + AHEAD,
				     _MM_HINT_T0);
		sum[0] = _mm512_add_epi64(sum[0], from[i]);
		sum[1] = _mm512_add_epi64(sum[1], from[i + 1]);
		sum[2] = _mm512_add_epi64(sum[2], from[i + 2]);
		sum[3] = _mm512_add_epi64(sum[3], from[i + 3]);
	}
	sum[0] = _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]),
				  _mm512_add_epi64(sum[2], sum[3]));
	return (uint64_t)_mm512_reduce_add_epi64(sum[0]);
}

__attribute__((target("avx2"))) static uint64_t
sum_256(const void *at, size_t bytes)
{
	const __m256i *from = at;
	__m256i sum[IN_TURN] = { _mm256_setzero_si256(),
				 _mm256_setzero_si256(),
				 _mm256_setzero_si256(),
				 _mm256_setzero_si256() };
	uint64_t word[4];

	for (size_t i = 0; i < bytes / sizeof(*from); i += IN_TURN) {
		for (size_t k = 0; k < IN_TURN; k += 2)
			_mm_prefetch((const char *)&from[i + k] + AHEAD,
				     _MM_HINT_T0);
		sum[0] = _mm256_add_epi64(sum[0], from[i]);
		sum[1] = _mm256_add_epi64(sum[1], from[i + 1]);
		sum[2] = _mm256_add_epi64(sum[2], from[i + 2]);
		sum[3] = _mm256_add_epi64(sum[3], from[i + 3]);
	}
	sum[0] = _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]),
				  _mm256_add_epi64(sum[2], sum[3]));
	_mm256_storeu_si256((__m256i *)word, sum[0]);
	return word[0] + word[1] + word[2] + word[3];
}

#endif

static uint64_t sum_any(const void *at, size_t bytes)
{
	const uint64_t *from = at;
	uint64_t sum[IN_TURN] = { 0 };

	for (size_t i = 0; i < bytes / sizeof(*from); i += IN_TURN)
		for (size_t k = 0; k < IN_TURN; k++)
			sum[k] += from[i + k];
	return sum[0] + sum[1] + sum[2] + sum[3];
}

static int has_512(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx512f") != 0;
#else
	return 0;
#endif
}

static int has_256(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx2") != 0;
#else
	return 0;
#endif
}

uint64_t ref_sum(const void *at, size_t bytes)
{
#if defined(__x86_64__)
	if (has_512())
		return sum_512(at, bytes);
	if (has_256())
		return sum_256(at, bytes);
#endif
	return sum_any(at, bytes);
}

const char *ref_sum_how(void)
{
	return has_512() ? "AVX-512" : has_256() ? "AVX2" : "the compiler";
}
