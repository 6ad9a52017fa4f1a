/* SPDX-License-Identifier: MIT */
/*
 * The last word: one line on standard error, written at once, when the process
 * is about to end by something that can be named. No stdio: nothing of the
 * program is trusted any more.
 */
#include "record/record.h"

#include <string.h>

struct line {
	uint32_t len;
	char text[256];
};

static void add_char(struct line *l, char c)
{
	/* the last is the end of the line */
	if (l->len < sizeof(l->text) - 1)
		l->text[l->len++] = c;
}

static void add(struct line *l, const char *s)
{
	for (; *s; s++)
		add_char(l, *s);
}

/* The program's own words: what is no plain character could be anything. */
static void add_name(struct line *l, const char *s)
{
	for (; *s; s++)
		add_char(l, *s < ' ' || *s > '~' || *s == '"' ? '?' : *s);
}

static void add_number(struct line *l, uint64_t n, uint32_t base)
{
	char digits[24];
	uint32_t i = sizeof(digits);

	do {
		digits[--i] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	for (; i < sizeof(digits); i++)
		add_char(l, digits[i]);
}

static void say(struct line *l)
{
	l->text[l->len++] = '\n';
	bz_sys(SYS_write, 2, (long)l->text, l->len, 0, 0, 0);
}

void bz_word_of_page(uint64_t page, const char *region, enum bez_outcome why)
{
	struct line l;

	l.len = 0;
	add(&l, "bezoar: page 0x");
	add_number(&l, page, 16);
	add(&l, " of region \"");
	add_name(&l, region);
	add(&l, "\" is no longer mapped and could not be restored: ");
	add(&l, bez_outcome_name(why));
	say(&l);
}

static void add_thread(struct line *l, uint32_t tid, const char *what,
		       uint64_t addr)
{
	l->len = 0;
	add(l, "bezoar: thread ");
	add_number(l, tid, 10);
	add(l, what);
	add_number(l, addr, 16);
}

void bz_word_of_stack(uint32_t tid, uint64_t addr)
{
	struct line l;

	add_thread(&l, tid,
		   ": its alternate stack is too small, it ran into 0x", addr);
	add(&l, "; the process ends");
	say(&l);
}

void bz_word_of_thread(uint32_t tid, uint64_t addr, enum bez_outcome why)
{
	struct line l;

	add_thread(&l, tid, ": its thread-local storage at 0x", addr);
	add(&l, why == BEZ_OUTCOME_NONE ?
		" was lost and is in no region; the process ends" :
		" was lost and could not be replaced: ");
	if (why != BEZ_OUTCOME_NONE)
		add(&l, bez_outcome_name(why));
	say(&l);
}
