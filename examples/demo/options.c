/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "options.h"

#include <bezoar/inject.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char help[] =
"usage: demo [--files DIR ...] [--size MiB] [--poison N] [--rate N/s]\n"
"            [--scratch N] [--seed N] [--backend NAME] [--no-digests] [--json]\n"
"            [--dry-run]\n"
"       demo --die [--backend NAME]\n"
"\n"
"Hold real files in memory, lose pages of it again and again while four\n"
"threads use them, and show that nothing of it is noticed: each lost page\n"
"comes back from its file, and each page of the index from its mirror.\n"
"Before that the same program without bezoar is shown dying of the first.\n"
"Then pages of a scratch area are lost, which has no source: the threads leave\n"
"by their scopes, and what is lost is named, cleared and computed again.\n"
"\n"
"  --files DIR ...  where the files come from (default: /usr/lib /usr/share)\n"
"  --size MiB       how much of them at most (default: 512)\n"
"  --poison N       pages to lose in all (default: 2000)\n"
"  --rate N/s       of these, in a second (default: 200)\n"
"  --scratch N      pages to lose of the scratch area (default: 20)\n"
"  --seed N         choose the same files and pages, in the same order, as\n"
"                   the run that named this number, if the files are still\n"
"                   the same (default: another number each time)\n"
"  --backend NAME   how a page is lost: auto, uffd, madv or hwpoison-inject\n"
"                   (default: auto, the truest that this machine allows).\n"
"                   With madv and hwpoison-inject each page lost is a page\n"
"                   of real memory that stays out of use until the next\n"
"                   boot; auto takes these as root on a kernel that has\n"
"                   memory failure\n"
"  --no-digests     do not tell bezoar what each page must be: a file that\n"
"                   changes meanwhile then comes back as it is now, where\n"
"                   otherwise it is refused\n"
"  --die            lose a page that the program can not be without: the end\n"
"                   in order, and its record read back\n"
"  --json           the result as JSON on standard output\n"
"  --dry-run        say which pages would be lost, in which order, a file and\n"
"                   a page of it in each line, and lose none\n"
"  --help           this text\n"
"\n"
"A page counts as taken if a thread got the SIGBUS of touching it; early\n"
"notices are off. The time from fault to resume is from the entry of bezoar's\n"
"handler to its record of the fault, right before it returns: what the kernel\n"
"takes to deliver the signal and to go back is not in it. A page that is\n"
"refused is lost for good: the threads go on without it, and the table says\n"
"why.\n"
"\n"
"Exit status: 0 if every page that was lost was taken by a thread and\n"
"replaced and no byte was wrong; 1 if not, and the table is there in any\n"
"case; 2 if it could not run.\n";

static const char *default_dirs[] = { "/usr/lib", "/usr/share" };

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("demo: ", stderr);
	vfprintf(stderr, format, args);
	fputs("; see demo --help\n", stderr);
	va_end(args);
	exit(2);
}

/* @unit may follow the number. */
static uint64_t number(const char *option, const char *text, const char *unit,
		       uint64_t min, uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || errno ||
	    (*end && strcmp(end, unit)) || value < min || value > max)
		die("--%s wants a number from %llu to %llu, not '%s'", option,
		    (unsigned long long)min, (unsigned long long)max, text);
	return value;
}

static uint32_t backend_named(const char *name)
{
	static const uint32_t usable[] = {
		BEZ_INJECT_AUTO, BEZ_INJECT_UFFD, BEZ_INJECT_MADV,
		BEZ_INJECT_HWPOISON_INJECT,
	};
	size_t i;

	for (i = 0; i < sizeof(usable) / sizeof(usable[0]); i++)
		if (!strcmp(name, bez_inject_backend_name(usable[i])))
			return usable[i];
	die("--backend wants auto, uffd, madv or hwpoison-inject, not '%s'",
	    name);
}

enum { FILES = 256, SIZE, POISON, RATE, SCRATCH, DIE, SEED, BACKEND, NO_DIGESTS, JSON,
       DRY_RUN, HELP };

static const struct option known[] = {
	{ "files", required_argument, NULL, FILES },
	{ "size", required_argument, NULL, SIZE },
	{ "poison", required_argument, NULL, POISON },
	{ "rate", required_argument, NULL, RATE },
	{ "scratch", required_argument, NULL, SCRATCH },
	{ "die", no_argument, NULL, DIE },
	{ "seed", required_argument, NULL, SEED },
	{ "backend", required_argument, NULL, BACKEND },
	{ "no-digests", no_argument, NULL, NO_DIGESTS },
	{ "json", no_argument, NULL, JSON },
	{ "dry-run", no_argument, NULL, DRY_RUN },
	{ "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

static void apply(int option, struct options *o)
{
	switch (option) {
	case SIZE:
		o->size_mib = number("size", optarg, "", 1, 1 << 20);
		break;
	case POISON:
		o->poison = number("poison", optarg, "", 1, 100000000);
		break;
	case RATE:
		o->rate = number("rate", optarg, "/s", 1, 1000000);
		break;
	case SCRATCH:
		o->scratch = number("scratch", optarg, "", 0, 1000000);
		break;
	case DIE:
		o->die = 1;
		break;
	case SEED:
		o->seed = number("seed", optarg, "", 0, UINT64_MAX);
		break;
	case BACKEND:
		o->backend = backend_named(optarg);
		break;
	case NO_DIGESTS:
		o->digests = 0;
		break;
	case JSON:
		o->json = 1;
		break;
	case DRY_RUN:
		o->dry_run = 1;
		break;
	case HELP:
		fputs(help, stdout);
		exit(0);
	default:
		/* getopt has said what it is about */
		fputs("see demo --help\n", stderr);
		exit(2);
	}
}

void options_parse(int argc, char **argv, struct options *ret_options)
{
	struct options o = {
		.dirs = default_dirs,
		.dir_count = sizeof(default_dirs) / sizeof(default_dirs[0]),
		.size_mib = 512,
		.poison = 2000,
		.rate = 200,
		.scratch = 20,
		.backend = BEZ_INJECT_AUTO,
		.digests = 1,
	};
	const char **dirs = calloc((size_t)argc, sizeof(*dirs));
	size_t count = 0;
	int option, last = 0;

	if (!dirs)
		die("no memory");
	/* short enough to be read off a screen and typed again */
	if (getrandom(&o.seed, sizeof(o.seed), 0) != sizeof(o.seed))
		die("getrandom: %s", strerror(errno));
	o.seed %= 1000000000;
	/* '-': words that are no options come as option 1, in their place */
	while ((option = getopt_long(argc, argv, "-", known, NULL)) >= 0) {
		if (option == FILES || (option == 1 && last == FILES)) {
			dirs[count++] = optarg;
			last = FILES;
			continue;
		}
		if (option == 1)
			die("'%s' is not an option", optarg);
		apply(option, &o);
		last = option;
	}
	if (optind < argc)
		die("'%s' is not an option", argv[optind]);
	if (count) {
		o.dirs = dirs;
		o.dir_count = count;
	} else {
		free(dirs);
	}
	*ret_options = o;
}
