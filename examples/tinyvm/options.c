/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "options.h"

#include <bezoar/inject.h>
#include <bezoar/vmm.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "guest/board.h"

static const char help[] =
"usage: tinyvm [--poison N] [--seconds N] [--memory MiB] [--vcpus N]\n"
"              [--vendor intel|amd] [--lmce] [--seed N] [--real] [--json]\n"
"       tinyvm --linux KERNEL --init PROGRAM [--seconds N] [--memory MiB]\n"
"              [--vendor intel|amd] [--real]\n"
"\n"
"A virtual machine whose memory is lost page by page while it runs, and which\n"
"goes on. Its kernel, which is part of this program, runs tasks that fill pages\n"
"from a seed and look at every byte of them again and again. It takes machine\n"
"checks as an operating system does: what is lost goes out of use for good, and\n"
"the task that had it is given another page with the same bytes, or killed and\n"
"begun anew. In the end every page that was lost has to have been told to it,\n"
"and no other, and no byte may have been wrong.\n"
"\n"
"  --poison N       pages to lose (default: 1000)\n"
"  --seconds N      how long that may take (default: 300)\n"
"  --memory MiB     of the guest, in slots with holes between (default: 64;\n"
"                   with --linux 512, and no holes)\n"
"  --vcpus N        (default: 2)\n"
"  --vendor NAME    intel or amd: whose machine checks (default: the host's)\n"
"  --lmce           have one CPU told instead of all, where KVM can (Intel)\n"
"  --seed N         draw the same numbers as the run that named this one; which\n"
"                   pages tasks use at that moment is another matter\n"
"  --real           lose pages of real memory, by madvise(2): needs root and a\n"
"                   kernel with memory failure; they are out of use until the\n"
"                   next boot. Otherwise it is a mark in the page table\n"
"  --linux KERNEL   no kernel of its own, but this bzImage of Linux, on one CPU and\n"
"                   with a serial port; the pages that PROGRAM names are lost\n"
"  --init PROGRAM   what Linux runs, a static program: tinyvm-survivor\n"
"  --json           the result as JSON on standard output\n"
"  --help           this text\n"
"\n"
"Exit status: 0 if all is well; 1 if not; 2 if it does not understand; 77 if\n"
"this machine cannot: no /dev/kvm, no machine checks in it, no poison, or a KVM\n"
"that cannot run that kernel.\n";

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("tinyvm: ", stderr);
	vfprintf(stderr, format, args);
	fputs("; see tinyvm --help\n", stderr);
	va_end(args);
	exit(2);
}

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || errno || *end || value < min || value > max)
		die("--%s wants a number from %llu to %llu, not '%s'", option,
		    (unsigned long long)min, (unsigned long long)max, text);
	return value;
}

static uint32_t vendor_named(const char *name)
{
	if (!strcmp(name, "intel"))
		return BEZ_VM_VENDOR_INTEL;
	if (!strcmp(name, "amd"))
		return BEZ_VM_VENDOR_AMD;
	die("--vendor wants intel or amd, not '%s'", name);
}

enum { POISON = 256, SECONDS, MEMORY, VCPUS, VENDOR, LMCE, SEED, REAL, LINUX, INIT, JSON,
       HELP };

static const struct option known[] = {
	{ "poison", required_argument, NULL, POISON },
	{ "seconds", required_argument, NULL, SECONDS },
	{ "memory", required_argument, NULL, MEMORY },
	{ "vcpus", required_argument, NULL, VCPUS },
	{ "vendor", required_argument, NULL, VENDOR },
	{ "lmce", no_argument, NULL, LMCE },
	{ "seed", required_argument, NULL, SEED },
	{ "real", no_argument, NULL, REAL },
	{ "linux", required_argument, NULL, LINUX },
	{ "init", required_argument, NULL, INIT },
	{ "json", no_argument, NULL, JSON },
	{ "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

static void apply(int option, struct options *o)
{
	switch (option) {
	case POISON:
		o->poison = number("poison", optarg, 1, BOARD_FRAMES / 2);
		break;
	case SECONDS:
		o->seconds = number("seconds", optarg, 1, 1000000);
		break;
	case MEMORY:
		o->memory_mib = number("memory", optarg, 8, 3072);
		break;
	case VCPUS:
		o->vcpus = number("vcpus", optarg, 1, BOARD_CPUS);
		break;
	case VENDOR:
		o->vendor = vendor_named(optarg);
		break;
	case LMCE:
		o->lmce = 1;
		break;
	case SEED:
		o->seed = number("seed", optarg, 0, UINT64_MAX);
		break;
	case REAL:
		o->backend = BEZ_INJECT_MADV;
		break;
	case LINUX:
		o->kernel = optarg;
		break;
	case INIT:
		o->init = optarg;
		break;
	case JSON:
		o->json = 1;
		break;
	case HELP:
		fputs(help, stdout);
		exit(0);
	default:
		/* getopt has said what it is about */
		fputs("see tinyvm --help\n", stderr);
		exit(2);
	}
}

/* Tasks must still have pages when all are lost, and be dense enough to meet them. */
static void fits(const struct options *o)
{
	uint64_t tasks = o->vcpus * BOARD_TASKS * TASK_PAGES;
	uint64_t frames = (o->memory_mib << 20) / 4096 - KERNEL_SPACE / 4096;

	if (!o->kernel != !o->init)
		die("--linux and --init go together");
	if (o->kernel)
		return;
	if (o->memory_mib > BOARD_FRAMES / 256)
		die("its own kernel takes at most %u MiB",
		    (unsigned int)BOARD_FRAMES / 256);
	if (frames < tasks + o->poison)
		die("%llu MiB are too few for %llu CPUs and %llu lost pages",
		    (unsigned long long)o->memory_mib, (unsigned long long)o->vcpus,
		    (unsigned long long)o->poison);
}

void options_parse(int argc, char **argv, struct options *ret_options)
{
	struct options o = {
		.poison = 1000,
		.seconds = 300,
		.vcpus = 2,
		.backend = BEZ_INJECT_UFFD,
	};
	int option;

	/* short enough to be read off a screen and typed again */
	if (getrandom(&o.seed, sizeof(o.seed), 0) != sizeof(o.seed))
		die("getrandom: %s", strerror(errno));
	o.seed %= 1000000000;
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0)
		apply(option, &o);
	if (optind < argc)
		die("'%s' is not an option", argv[optind]);
	if (!o.memory_mib)
		o.memory_mib = o.kernel ? 512 : 64;
	fits(&o);
	*ret_options = o;
}
