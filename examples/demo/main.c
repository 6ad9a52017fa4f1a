/* SPDX-License-Identifier: MIT */
/*
 * The demo: real files in memory, real work on them, and pages lost under it
 * all the time. What a program has to do for it is in regions.c.
 */
#include <bezoar/inject.h>
#include <stdio.h>

#include "die.h"
#include "escape.h"
#include "memory.h"
#include "options.h"
#include "poison.h"
#include "regions.h"
#include "report.h"
#include "run.h"
#include "without.h"

static void describe(const struct options *o, const struct memory *m)
{
	size_t i;

	fputs("holding files of", stderr);
	for (i = 0; i < o->dir_count; i++)
		fprintf(stderr, " %s", o->dirs[i]);
	fprintf(stderr, ": %zu files, %.1f MiB in %zu pages, and an index of "
		"%zu pages; seed %llu\n", m->file_count,
		(double)m->file_bytes / (1 << 20), m->file_pages,
		m->pages - m->file_pages, (unsigned long long)o->seed);
	if (m->min_size > 1)
		fprintf(stderr, "(no file below %zu bytes: no more may be "
			"open, see ulimit -n)\n", m->min_size);
}

int main(int argc, char **argv)
{
	/* static: whole after a jump to the end */
	static struct options options;
	static struct memory memory;
	static struct poison poison;
	static struct result result = {
		.options = &options,
		.memory = &memory,
		.poison = &poison,
		.broke_off = 1,
	};
	static sigjmp_buf end;

	options_parse(argc, argv, &options);
	if (!options.dry_run && bez_inject_available(options.backend)) {
		fprintf(stderr, "demo: cannot lose a page here by %s: %s\n",
			bez_inject_backend_name(options.backend),
			bez_inject_why(options.backend));
		return 2;
	}
	if (options.die)
		return die_in_order(&options);
	if (memory_load(&options, &memory) ||
	    poison_plan(&poison, &memory, options.poison, options.seed,
			options.backend))
		return 2;
	if (options.dry_run)
		return poison_print(&poison);
	describe(&options, &memory);
	if (without_bezoar(&poison, options.seed, &result.child_status) ||
	    regions_protect(&memory, options.digests))
		return 2;
	escape = &end;
	if (!sigsetjmp(end, 1))
		result.broke_off = run(&options, &poison, &result.run);
	/* what comes after this is not in the table of the files' losses */
	poison_collect(&poison);
	if (!result.broke_off) {
		result.broke_off = 1;
		if (!sigsetjmp(end, 1))
			result.broke_off =
				scratch_run(&memory, options.scratch,
					    options.seed, poison.backend,
					    &result.scratch);
	}
	return report(&result) ? 0 : 1;
}
