/* SPDX-License-Identifier: MIT */
/*
 * How many pages a second when all are lost at once and eight threads run
 * into them? Every byte is looked at afterwards.
 */
#include "faults.h"
#include "questions.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define THREADS	8
#define CHUNK	32	/* pages that a thread takes at a time */

struct storm {
	const struct bench_memory *memory;
	bool attach;
	pthread_barrier_t ready;
	_Atomic size_t next;
};

struct thread {
	struct storm *storm;
	pthread_t id;
	uint64_t from, to;
	int err;
};

static void *touch(void *arg)
{
	struct thread *thread = arg;
	struct storm *storm = thread->storm;
	size_t used = storm->memory->used, begin;

	if (storm->attach)
		thread->err = bez_thread_attach();
	pthread_barrier_wait(&storm->ready);
	thread->from = bench_now();
	while ((begin = atomic_fetch_add(&storm->next, CHUNK)) < used)
		for (size_t i = begin; i < begin + CHUNK && i < used; i++)
			ref_load(bench_memory_at(storm->memory, i));
	thread->to = bench_now();
	return NULL;
}

/* From the first that began to the last that ended. */
static int all_threads(struct storm *storm, double *ret_pages_per_s)
{
	struct thread threads[THREADS];
	uint64_t from = UINT64_MAX, to = 0;
	int err = 0;

	atomic_store(&storm->next, 0);
	pthread_barrier_init(&storm->ready, NULL, THREADS);
	for (size_t i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){ .storm = storm };
		/* Fewer than the barrier waits for: no way on from here. */
		if (pthread_create(&threads[i].id, NULL, touch, &threads[i]))
			return -EAGAIN;
	}
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i].id, NULL);
		from = threads[i].from < from ? threads[i].from : from;
		to = threads[i].to > to ? threads[i].to : to;
		err = threads[i].err < 0 ? threads[i].err : err;
	}
	pthread_barrier_destroy(&storm->ready);
	*ret_pages_per_s = (double)storm->memory->used * 1e9 /
			   bench_span(from, to);
	return err;
}

static int ours(void *arg, double *samples, size_t n)
{
	struct storm storm = { .memory = arg, .attach = true };
	uint64_t before = bench_replaced();
	int err = bench_memory_poison(arg);

	(void)n;
	if (err == 0)
		err = all_threads(&storm, samples);
	if (err == 0 && bench_replaced() - before != storm.memory->used)
		err = -ENODATA;
	if (err < 0)
		return err;
	return bench_memory_good(arg) ? 0 : -EBADMSG;
}

static int bare(void *arg, double *samples, size_t n)
{
	const struct bench_memory *memory = arg;
	struct storm storm = { .memory = memory, .attach = false };
	int err = bench_memory_poison(memory);

	(void)n;
	if (err == 0)
		err = ref_resume_begin(memory->data, memory->mirror,
				       memory->len, memory->page, -1,
				       REF_PAGE);
	if (err < 0)
		return err;
	err = all_threads(&storm, samples);
	ref_resume_end();
	if (err < 0)
		return err;
	return bench_memory_good(memory) ? 0 : -EBADMSG;
}

static void run(bool quick, struct bench_result *result)
{
	size_t pages = quick ? 10000 : 100000, each = 100;
	struct bench_memory memory;
	const struct bench_side sides[2] = {
		{ "bezoar", ours, &memory },
		{ "bare handlers", bare, &memory },
	};
	struct bench_figures figures;
	int err = bench_memory_open(pages, 1, pages, &memory);

	if (err == 0)
		err = bench_unpin();
	if (err == 0)
		err = bez_start(NULL);
	if (err == 0)
		err = bench_regions_add(&memory, 0, each, NULL, pages / each);
	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	bench_say(result, "%d threads on %u processors, %zu pages in regions "
		  "of %zu, every byte compared. ", THREADS, bench_cpus(),
		  pages, each);
	bench_compare(sides, 2, quick ? 3 : 9, 1, &figures, result);
}

const struct bench_question bench_storm = {
	"storm", "pages/s", 0.8, true, run };
