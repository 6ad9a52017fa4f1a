/* SPDX-License-Identifier: MIT */
/*
 * matrix [GLOB...]: the cells whose names match one of them, or all. A name is
 * PAGE/INJECTION/TRIGGER/ACTION.
 */
#define _GNU_SOURCE
#include "matrix.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST 4096

const struct matrix_page *matrix_page(size_t i)
{
	static const struct matrix_page *const all[] = {
		matrix_anon_pages, matrix_file_pages, matrix_huge_pages,
		matrix_other_pages,
	};
	size_t part, n;

	for (part = 0; part < COUNT(all); part++)
		for (n = 0; all[part][n].name; n++)
			if (!i--)
				return &all[part][n];
	return NULL;
}

static int wanted(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (!fnmatch(argv[i], name, 0))
			return 1;
	return argc < 2;
}

static struct matrix_cell cells[MOST];
static struct tap_case cases[MOST];
static size_t count;

static void add(size_t page, size_t injection, size_t trigger, size_t action,
		int argc, char **argv)
{
	struct matrix_cell *c = &cells[count];

	*c = (struct matrix_cell){
		.page = matrix_page(page),
		.injection = &matrix_injections[injection],
		.trigger = &matrix_triggers[trigger],
		.action = &matrix_actions[action],
	};
	snprintf(c->name, sizeof(c->name), "%s/%s/%s/%s", c->page->name,
		 c->injection->name, c->trigger->name, c->action->name);
	if (!wanted(c->name, argc, argv))
		return;
	matrix_expect(c);
	cases[count] = (struct tap_case){
		.name = c->name, .run = matrix_keep, .data = c,
		.timeout_s = 60,
	};
	if (++count == MOST) {
		printf("Bail out! more cells than room\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	size_t p, i, t, a;

	for (p = 0; matrix_page(p); p++)
		for (i = 0; i < matrix_n_injections; i++)
			for (t = 0; t < matrix_n_triggers; t++)
				for (a = 0; a < matrix_n_actions; a++)
					add(p, i, t, a, argc, argv);
	matrix_make_bytes();
	return tap_main(cases, count, 1, argv);
}
