/* SPDX-License-Identifier: MIT */
/*
 * Random campaigns: 100,000 steps on every kind of memory, with losses, threads,
 * children and system calls in between, all drawn from a seed.
 *
 *	live_campaign [--seed N] [--steps N] [KIND]	(a part of its name)
 *	live_campaign --case 'kind=anon pages=3 steps=lose:0:0,load:0:9'
 *
 * CAMPAIGN_SEED and CAMPAIGN_STEPS do the same. What the threads of a case do
 * when is the kernel's affair: a seed says what they do.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "huge.h"
#include "live.h"

#define STEPS 100000u
#define HUGE_NEEDED 8

static uint64_t seed = 1, steps = STEPS;
static char *one_case;
static const char *self;

static const struct plan {
	const char *name;
	uint32_t kind;			/* enum camp_kind */
	uint32_t share;			/* of a hundred steps */
	uint32_t steps;			/* of a case */
} plans[] = {
	{ "private anonymous", CAMP_ANON, 23, 250 },
	{ "transparent huge pages", CAMP_THP, 5, 100 },
	{ "stack of a thread", CAMP_STACK, 8, 250 },
	{ "private memfd", CAMP_MEMFD, 13, 250 },
	{ "shared memfd, exclusive", CAMP_EXCLUSIVE, 10, 250 },
	{ "shared memfd, fenced", CAMP_FENCED, 12, 250 },
	{ "shared anonymous", CAMP_SHARED, 8, 250 },
	{ "private file that is cut", CAMP_FILE, 8, 250 },
	{ "shared file that is cut", CAMP_SHARED_FILE, 6, 250 },
	{ "anonymous hugetlb", CAMP_HUGETLB, 3, 100 },
	{ "private hugetlb memfd", CAMP_HUGE_MEMFD, 2, 100 },
	{ "shared hugetlb memfd", CAMP_HUGE_SHARED, 2, 100 },
};
#define PLANS (sizeof(plans) / sizeof(plans[0]))

/* ------------------------------------------------------------------ failures */

/* What the case said, indented. */
static void show_log(int log)
{
	FILE *f = fdopen(dup(log), "r");
	char line[600];

	CHECK(f);
	rewind(f);
	while (fgets(line, sizeof(line), f))
		printf("#   %s", line);
	fclose(f);
}

static void show_case(const char *what, const struct camp_case *c)
{
	printf("# %s: ", what);
	camp_print(stdout, c);
	putchar('\n');
}

static int new_log(void)
{
	int log = memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(log >= 0);
	return log;
}

static void show_end(const struct camp_case *c, const struct camp_end *end)
{
	printf("# %s in step %u", end->why, end->step);
	if (end->step < c->steps) {
		printf(" (");
		camp_print_step(stdout, &c->step[end->step]);
		putchar(')');
	}
	putchar('\n');
}

/* The smallest is run once more, for what it says. */
static void report(struct camp_case *c, struct camp_end *end, int log)
{
	uint32_t runs, i;

	show_end(c, end);
	show_log(log);
	show_case("as drawn", c);
	fflush(stdout);
	runs = camp_shrink(c, end);
	printf("# after %u runs:\n", runs);
	for (i = 0; i < 60; i++) {
		int again = new_log();
		struct camp_end e = camp_run_apart(c, again);

		if (e.failed == 1) {
			show_end(c, &e);
			show_log(again);
			i = 60;
		}
		close(again);
	}
	show_case("smallest", c);
	printf("# %s --case '", self);
	camp_print(stdout, c);
	printf("'\n");
	fflush(stdout);
}

/* --------------------------------------------------------------------- cases */

static const struct plan *plan(void)
{
	return tap_data();
}

static uint32_t share_of(const struct plan *p)
{
	uint64_t all = 0;
	size_t i;

	for (i = 0; i < PLANS; i++)
		all += plans[i].share;
	return (uint32_t)((steps * p->share + all - 1) / all);
}

static void need(enum camp_kind kind)
{
	struct camp_case c = { .kind = kind };

	if (kind == CAMP_MEMFD)
		live_need_linux(5, 14, "minor faults by userfaultfd");
	if (!camp_is_huge(&c))
		return;
	live_need_linux(5, 18, "discarding of huge pages");
	huge_need(HUGE_NEEDED);
}

static void campaign(void)
{
	uint32_t number, done = 0, share, losses = 0, refused = 0;
	static struct camp_case c;

	need(plan()->kind);
	share = share_of(plan());
	for (number = 0; done < share; number++) {
		uint32_t left = share - done;
		struct camp_end end;
		int log = new_log();

		camp_draw(seed, plan()->kind, number,
			  left < plan()->steps ? left : plan()->steps, &c);
		end = camp_run_apart(&c, log);
		if (end.failed) {
			printf("# seed %llu, case %u of kind '%s':\n",
			       (unsigned long long)seed, number, plan()->name);
			report(&c, &end, log);
			CHECKF(0, "seed %llu, case %u: the smallest is above",
			       (unsigned long long)seed, number);
		}
		close(log);
		done += c.steps;
		losses += end.losses;
		refused += end.refused;
	}
	CHECK(losses);
	tap_diag("%s: seed %llu, %u cases, %u steps, %u losses, %u refused by "
		 "the book", plan()->name, (unsigned long long)seed, number,
		 done, losses, refused);
}

static void the_case(void)
{
	static struct camp_case c;
	struct camp_end end;
	int log = new_log();

	CHECK_EQ(camp_parse(one_case, &c), 0);
	need(c.kind);
	end = camp_run_apart(&c, log);
	if (end.failed) {
		show_end(&c, &end);
		show_log(log);
	}
	close(log);
	CHECK(!end.failed);
}

/* ---------------------------------------------------------------------- main */

static int usage(void)
{
	fprintf(stderr, "usage: live_campaign [--seed N] [--steps N] "
		"[--case CASE] [KIND]\n");
	return 2;
}

static int number(const char *text, uint64_t *ret)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return -1;
	*ret = strtoull(text, &end, 10);
	return *end ? -1 : 0;
}

static int options(int argc, char **argv, char **ret_filter)
{
	int i;

	if (getenv("CAMPAIGN_SEED") && number(getenv("CAMPAIGN_SEED"), &seed))
		return -1;
	if (getenv("CAMPAIGN_STEPS") &&
	    number(getenv("CAMPAIGN_STEPS"), &steps))
		return -1;
	for (i = 1; i < argc; i++) {
		char *arg = argv[i], *value = argv[i + 1];
		int r = 0;

		if (!strcmp(arg, "--seed"))
			r = number(value, &seed), i++;
		else if (!strcmp(arg, "--steps"))
			r = number(value, &steps), i++;
		else if (!strcmp(arg, "--case"))
			one_case = value, r = value ? 0 : -1, i++;
		else if (arg[0] == '-')
			r = -1;
		else
			*ret_filter = arg;
		if (r)
			return -1;
	}
	return steps ? 0 : -1;
}

int main(int argc, char **argv)
{
	static const struct tap_case just_one = { .name = "case",
						  .run = the_case,
						  .timeout_s = 600 };
	static struct tap_case cases[PLANS];
	char *filter = NULL, *args[2] = { argv[0], NULL };
	size_t i;

	self = argv[0];
	if (options(argc, argv, &filter))
		return usage();
	args[1] = filter;
	for (i = 0; i < PLANS; i++)
		cases[i] = (struct tap_case){ .name = plans[i].name,
					      .run = campaign,
					      .timeout_s = 3600,
					      .data = &plans[i] };
	if (one_case)
		return tap_main(&just_one, 1, 1, args);
	return tap_main(cases, PLANS, filter ? 2 : 1, args);
}
