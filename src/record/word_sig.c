/* SPDX-License-Identifier: MIT */
/*
 * The last word: one line on standard error, written at once, when the process
 * is about to end by something that can be named. No stdio: nothing of the
 * program is trusted any more.
 */
#include "record/record.h"

#include "record/line.h"

static void say(struct bz_line *l)
{
	bz_line_end(l);
	bz_sys(SYS_write, 2, (long)l->text, l->len, 0, 0, 0);
}

void bz_word_of_page(uint64_t page, const char *region, enum bez_outcome why)
{
	struct bz_line l;

	l.len = 0;
	bz_line_add(&l, "bezoar: page 0x");
	bz_line_number(&l, page, 16);
	bz_line_add(&l, " of region \"");
	bz_line_name(&l, region);
	bz_line_add(&l, "\" is no longer mapped and could not be restored: ");
	bz_line_add(&l, bez_outcome_name(why));
	say(&l);
}

static void add_thread(struct bz_line *l, uint32_t tid, const char *what,
		       uint64_t addr)
{
	l->len = 0;
	bz_line_add(l, "bezoar: thread ");
	bz_line_number(l, tid, 10);
	bz_line_add(l, what);
	bz_line_number(l, addr, 16);
}

void bz_word_of_stack(uint32_t tid, uint64_t addr)
{
	struct bz_line l;

	add_thread(&l, tid,
		   ": its alternate stack is too small, it ran into 0x", addr);
	bz_line_add(&l, "; the process ends");
	say(&l);
}

void bz_word_of_thread(uint32_t tid, uint64_t addr, enum bez_outcome why)
{
	struct bz_line l;

	add_thread(&l, tid, ": its thread-local storage at 0x", addr);
	bz_line_add(&l, why == BEZ_OUTCOME_NONE ?
		" was lost and is in no region; the process ends" :
		" was lost and could not be replaced: ");
	if (why != BEZ_OUTCOME_NONE)
		bz_line_add(&l, bez_outcome_name(why));
	say(&l);
}
