/* SPDX-License-Identifier: MIT */
/* Ways to lose a page. */
#define _GNU_SOURCE
#include "matrix.h"
#include "poison.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Something was lost by this, whatever it answers; or had been before, and the
 * kernel did not give it back. */
static void see_lost(long before, int r, const char *how)
{
	const struct matrix_cell *c = tap_data();

	if (c->expect.kept)
		return;
	CHECKF(matrix_corrupted() > before, "%s lost nothing: %s", how,
	       strerror(-r));
}

/* -------------------------------------------------------------- MADV_HWPOISON */

/* Who calls it is told at once (Linux 6.11), and our handler would be done before
 * anybody met the loss. So another calls, that shares our memory. */
static void madv(struct matrix_memory *m)
{
	long before = matrix_corrupted();
	int r;

	matrix_note_frame(m->at + m->lose);
	/* where a page that can not be unmapped is bad, the caller is the one who
	 * has to be told */
	if (m->unsplit)
		r = madvise(m->at + m->lose, SMALL, MADV_HWPOISON) ? -errno : 0;
	else
		r = poison_untold(m->at + m->lose);
	see_lost(before, r, "MADV_HWPOISON");
}

static void advise_again(struct matrix_memory *m)
{
	madvise(m->at + m->lose, SMALL, MADV_HWPOISON);
}

/* ------------------------------------------------- by frame, by another process */

static void foreign_asked(void)
{
	struct matrix_link *l = matrix_link;
	char byte = (char)-matrix_tell(DEBUG "corrupt-pfn", "%#llx",
		(unsigned long long)l->frames[l->n - 1]);

	CHECK_EQ(write(l->answer[1], &byte, 1), 1);
}

static void foreign(struct matrix_memory *m)
{
	long before = matrix_corrupted();
	char byte = 0;

	matrix_note_frame(m->see ? m->see : m->at + m->lose);
	if (m->see)
		CHECK_EQ(munmap(m->see, m->unit), 0);
	CHECK_EQ(write(matrix_link->ask[1], &byte, 1), 1);
	CHECK_EQ(read(matrix_link->answer[0], &byte, 1), 1);
	see_lost(before, -(unsigned char)byte, "hwpoison-inject");
}

const struct matrix_injection matrix_injections[] = {
	{ .name = "madv", .lose = madv, .again = advise_again },
	{ .name = "foreign", .lose = foreign, .asked = foreign_asked,
	  .foreign = 1 },
	{ .name = "mce", .lose = matrix_mce_lose, .asked = matrix_mce_asked,
	  .inside = 1, .meet = matrix_mce_meet, .again = matrix_mce_again },
};
const size_t matrix_n_injections = COUNT(matrix_injections);
