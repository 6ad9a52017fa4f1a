/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
/*
 * The same question as resume_4k for other memory: a huge page, a page of shared
 * memory, a page whose bytes are in a file.
 */
#include "faults.h"
#include "poison.h"
#include "questions.h"

#include <bezoar/shared.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void compare(bool quick, const struct bench_memory *memory,
		    const struct bench_side *ours, enum ref_way way, int fd,
		    struct bench_result *result)
{
	struct bench_faults_ref bare = { memory, way, fd };
	const struct bench_side sides[2] = {
		*ours, { "bare handler", bench_faults_bare, &bare },
	};
	struct bench_figures figures;

	bench_compare(sides, 2, quick ? 5 : 21, memory->used, &figures, result);
}

/* ------------------------------------------------------------- huge pages */

static void huge(bool quick, struct bench_result *result)
{
	struct bench_memory memory;
	const struct bench_side ours = { "bezoar", bench_faults_ours, &memory };
	int err = bench_memory_open_huge(quick ? 4 : 16, &memory);

	if (err < 0)
		return bench_cannot(result, "setting huge pages aside (root)",
				    err);
	err = bez_start(NULL);
	if (err == 0)
		err = bench_regions_add(&memory, 0, memory.slots, NULL, 1);
	if (err < 0)
		bench_cannot(result, "registering the region", err);
	else
		compare(quick, &memory, &ours, REF_PAGE, -1, result);
	bench_memory_close(&memory);
}

/* ----------------------------------------------------- bytes from a file */

/* In the page cache of the file system that holds /var/tmp. */
static int file_of(const struct bench_memory *memory)
{
	char name[] = "/var/tmp/bezoar-bench-XXXXXX";
	int fd = mkstemp(name);
	size_t done = 0;

	if (fd < 0)
		return -errno;
	unlink(name);
	while (done < memory->len) {
		ssize_t n = write(fd, memory->mirror + done,
				  memory->len - done);

		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return fd;
}

static int add_one(const struct bench_memory *memory,
		   const struct bez_source *from,
		   const struct bez_shared *shared)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	policy.source = from;
	policy.shared = shared;
	policy.max_repeats = UINT32_MAX;
	return bez_region_add(memory->data, memory->len, &policy, &region);
}

static void from_file(bool quick, struct bench_result *result)
{
	struct bench_memory memory;
	const struct bench_side ours = { "bezoar", bench_faults_ours, &memory };
	size_t pages = quick ? 512 : 2048;
	struct bez_source from;
	int err = bench_memory_open(pages, 1, pages, &memory), fd;

	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	fd = file_of(&memory);
	if (fd < 0)
		return bench_cannot(result, "writing the file", fd);
	from = bez_source_file(fd, 0);
	err = bez_start(NULL);
	if (err == 0)
		err = add_one(&memory, &from, NULL);
	if (err < 0)
		return bench_cannot(result, "registering the region", err);
	compare(quick, &memory, &ours, REF_FILE, fd, result);
}

/* ----------------------------------------------------------- shared memory */

/*
 * Nobody without privilege can make a page of a file bad, so in both sides the
 * page is gone from the file already; neither has to punch it out, which would
 * cost both the same. Ours finds that out by its fence, the bare handler by a
 * poison marker. They have memory of their own.
 */
static int lose_all(const struct bench_memory *memory, int fd)
{
	for (size_t i = 0; i < memory->used; i++)
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      bench_memory_at(memory, i) - memory->data,
			      (off_t)memory->page) < 0)
			return -errno;
	return 0;
}

static int shared_ours(void *arg, double *samples, size_t n)
{
	const struct bench_faults_ref *side = arg;
	uint64_t before = bench_replaced();
	int err = lose_all(side->memory, side->fd);

	if (err < 0)
		return err;
	bench_touch(side->memory, samples, n);
	if (bench_replaced() - before != n)
		return -ENODATA;
	return bench_memory_good(side->memory) ? 0 : -EBADMSG;
}

static int shared_bare(void *arg, double *samples, size_t n)
{
	const struct bench_faults_ref *side = arg;
	int err = lose_all(side->memory, side->fd);

	return err < 0 ? err : bench_faults_bare(arg, samples, n);
}

static void shared(bool quick, struct bench_result *result)
{
	size_t pages = quick ? 512 : 2048;
	struct bez_shared said = BEZ_SHARED_INIT;
	struct bench_memory memory[2];
	struct bench_faults_ref refs[2];
	const struct bench_side sides[2] = {
		{ "bezoar", shared_ours, &refs[0] },
		{ "bare handler", shared_bare, &refs[1] },
	};
	struct bench_figures figures;
	struct bez_source from;
	int err = 0;

	for (size_t i = 0; err == 0 && i < 2; i++) {
		refs[i] = (struct bench_faults_ref){ &memory[i], REF_SHARED,
						     -1 };
		err = bench_memory_open_shared(pages, &refs[i].fd, &memory[i]);
	}
	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	said.flags = BEZ_SHARED_EXCLUSIVE;
	said.fd = refs[0].fd;
	from = bez_source_mirror(memory[0].mirror);
	err = bez_start(NULL);
	if (err == 0)
		err = add_one(&memory[0], &from, &said);
	if (err < 0)
		return bench_cannot(result, "registering the region", err);
	bench_compare(sides, 2, quick ? 5 : 21, pages, &figures, result);
}

const struct bench_question bench_resume_2m = {
	"resume_2m", "ns", 1.15, false, huge };
const struct bench_question bench_resume_shared = {
	"resume_shared", "ns", 1.3, false, shared };
const struct bench_question bench_resume_file = {
	"resume_file", "ns", 1.25, false, from_file };
