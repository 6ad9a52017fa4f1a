/* SPDX-License-Identifier: MIT */
/* bezoard, the next of kin: takes records of lost pages, and keeps them. */
#include <argp.h>
#include <bezoar/bezoar.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "klog.h"
#include "loop.h"

#define SECOND	1000000000ull
#define DAY	86400ull
#define FILES	4096			/* half of them: 512 connections, and others */
#define OTHERS	32

const char *const count_names[COUNTS] = {
	[COUNT_TAKEN] = "taken",
	[COUNT_AGAIN] = "again",
	[COUNT_STRANGE] = "other version",
	[COUNT_FORGED] = "forged",
	[COUNT_UNVERIFIED] = "unverified",
	[COUNT_DAMAGED] = "damaged",
	[COUNT_SHORT] = "short",
	[COUNT_LONG] = "long",
	[COUNT_FLOOD] = "flood",
	[COUNT_NO_ROOM] = "no room",
	[COUNT_ACKS_DROPPED] = "acknowledgements dropped",
	[COUNT_CLOSED] = "connections closed",
	[COUNT_RETIRED] = "retired",
	[COUNT_APART_RETIRED] = "apart retired",
	[COUNT_TORN] = "torn",
	[COUNT_SKIPPED] = "skipped",
	[COUNT_KERNEL] = "kernel lines",
	[COUNT_KERNEL_LOST] = "kernel log overrun",
	[COUNT_KERNEL_RETIRED] = "kernel lines retired",
	[COUNT_DEATHS] = "deaths",
	[COUNT_UNTOLD] = "deaths without a word",
	[COUNT_UNHELD] = "not held",
	[COUNT_HOOK_DROPPED] = "hook dropped",
	[COUNT_HOOK_FAILED] = "hook failed",
	[COUNT_UNSAID] = "not said",
};

static const struct argp_option options[] = {
	{ "socket", 's', "PATH", 0, "listen there (/run/bezoar/socket), if the "
	  "service manager has handed over no socket", 0 },
	{ "store", 'd', "FILE", 0, "keep records there "
	  "(/var/lib/bezoar/records.db)", 0 },
	{ "files", 'f', "DIR", 0, "take records from the files in there, too",
	  0 },
	{ "max-age", 'a', "DAYS", 0, "records go after so long (365; 0: never)",
	  0 },
	{ "max-size", 'm', "MIB", 0, "the oldest go where there are more (64; "
	  "0: no limit)", 0 },
	{ "delay", 't', "MS", 0, "a record may wait so long for others that are "
	  "committed with it (20)", 0 },
	{ "rate", 'r', "N", 0, "records a second of each connection (10000)",
	  0 },
	{ "clients", 'c', "N", 0, "connections, 1 to 512 (512)", 0 },
	{ "metrics", 'M', "FILE", 0, "write numbers for node_exporter's textfile "
	  "collector there", 0 },
	{ "latches", 'L', "DIR", 0, "with what supervisors have latched in there, "
	  "too", 0 },
	{ "kmsg", 'k', "PATH", 0, "read there what the kernel says of lost "
	  "memory (" KLOG_PATH ")", 0 },
	{ "no-kmsg", 'K', NULL, 0, "read it nowhere", 0 },
	{ "exec", 'x', "CMD", 0, "run this by sh for each record, and each "
	  "death, with it as JSON on standard input", 0 },
	{ "exec-limit", 'l', "SECONDS", 0, "and kill it if it takes longer "
	  "(30)", 0 },
	{ 0 }
};

static uint64_t number(struct argp_state *state, const char *option,
		       const char *word, uint64_t least, uint64_t most)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(word, &end, 10);
	if (*word < '0' || *word > '9' || *end || errno || n < least ||
	    n > most)
		argp_error(state, "--%s: %s is no number from %llu to %llu",
			   option, word, (unsigned long long)least,
			   (unsigned long long)most);
	return n;
}

static error_t on_word(int key, char *arg, struct argp_state *state)
{
	struct wishes *w = state->input;

	switch (key) {
	case 's':
		if (!*arg || !strcmp(arg, "@"))
			argp_error(state, "--socket: it is to have a name");
		w->socket = arg;
		return 0;
	case 'd':
		w->store = arg;
		return 0;
	case 'f':
		while (strlen(arg) > 1 && arg[strlen(arg) - 1] == '/')
			arg[strlen(arg) - 1] = '\0';
		if (w->files)
			argp_error(state, "--files: one folder can be read, "
				   "and that is %s by the words before",
				   w->files);
		w->files = arg;
		return 0;
	case 'a':
		w->max_age_ns = number(state, "max-age", arg, 0, 36500) * DAY *
				SECOND;
		return 0;
	case 'm':
		w->max_bytes = number(state, "max-size", arg, 0, 1 << 20) << 20;
		return 0;
	case 't':
		w->delay_ns = number(state, "delay", arg, 0, 60000) * 1000000;
		return 0;
	case 'r':
		w->rate = (uint32_t)number(state, "rate", arg, 1,
					   1000000000);
		return 0;
	case 'c':
		w->clients = (uint32_t)number(state, "clients", arg, 1,
					      CLIENTS_MOST);
		return 0;
	case 'k':
		w->kmsg = arg;
		return 0;
	case 'K':
		w->kmsg = NULL;
		return 0;
	case 'x':
		w->exec = arg;
		return 0;
	case 'l':
		w->exec_ns = number(state, "exec-limit", arg, 1, 3600) * SECOND;
		return 0;
	case 'M':
		w->metrics = arg;
		return 0;
	case 'L':
		w->latches = arg;
		return 0;
	case ARGP_KEY_END:
		if (w->latches && !w->metrics)
			argp_error(state, "--latches is for what --metrics "
				   "writes");
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "%s: there are no arguments, only options",
			   arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_version(FILE *to, struct argp_state *state)
{
	(void)state;
	fprintf(to, "bezoard %s\n", bez_version());
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		options, on_word, NULL,
		"Take records of lost pages from who sends them, and keep them "
		"for bezoar log.\v"
		"Exit status: 0: it was asked to end (SIGTERM, SIGINT); 1: it "
		"could not begin; 2: the command was not understood.",
		NULL, NULL, NULL
	};
	struct wishes w = {
		.socket = "/run/bezoar/socket",
		.store = "/var/lib/bezoar/records.db", .kmsg = KLOG_PATH,
		.max_age_ns = 365 * DAY * SECOND, .max_bytes = 64 << 20,
		.delay_ns = 20000000, .rate = 10000, .clients = CLIENTS_MOST,
		.exec_ns = 30 * SECOND,
	};
	struct rlimit files = { FILES, FILES };

	argp_err_exit_status = 2;
	argp_program_version_hook = print_version;
	if (argp_parse(&argp, argc, argv, 0, NULL, &w))
		return 2;
	umask(0027);
	/* who has started this one may not have wanted to know of its children */
	signal(SIGCHLD, SIG_DFL);
	/* these are errors of write(2) here */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur < FILES) {
		files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* whoever found no descriptor could be neither let in nor turned away */
	while (w.clients > 1 && w.clients + OTHERS > files.rlim_cur / 2)
		w.clients--;
	return loop_run(&w) ? 1 : 0;
}
