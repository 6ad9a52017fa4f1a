/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "die.h"

#include <bezoar/bezoar.h>
#include <bezoar/inject.h>
#include <bezoar/record.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define COULD_NOT 100		/* exit status of the child */

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void save(const struct bez_event *loss, void *arg)
{
	(void)loss;
	(void)arg;
	say("hook: what is good is saved, and the clients are told\n");
}

static int could_not(const char *what, int r)
{
	fprintf(stderr, "demo: %s: %s\n", what, strerror(-r));
	return COULD_NOT;
}

/* A ledger of which no page may be missing. */
static int child(const struct options *o, int record)
{
	struct bez_options start = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	const struct rlimit none = { 0, 0 };
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	volatile unsigned char *ledger;
	bez_inject_t token;
	bez_region_t region;
	int r;

	setrlimit(RLIMIT_CORE, &none);
	ledger = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ledger == MAP_FAILED)
		return could_not("mmap", -errno);
	memset((void *)ledger, 1, 4 * page);
	start.flags = BEZ_START_NO_EARLY_KILL;
	start.record_fd = record;
	/* a daemon would have the records, and the file would stay empty */
	unsetenv("BEZOAR_SOCKET");
	r = bez_start(&start);
	if (r)
		return could_not("bez_start", r);
	r = bez_shutdown_hook(save, NULL);
	if (r)
		return could_not("bez_shutdown_hook", r);
	policy.name = "ledger";
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_SHUTDOWN;
	r = bez_region_add((void *)ledger, 4 * page, &policy, &region);
	if (r)
		return could_not("bez_region_add", r);
	r = bez_inject((void *)(ledger + 2 * page), page, o->backend,
		       BEZ_INJECT_NO_UNDO, &token);
	if (r)
		return could_not("cannot lose a page", r);
	/* the end of it */
	return ledger[2 * page + 123];
}

static int is_whole(const struct bez_record *r)
{
	return !memcmp(r->magic, BEZ_RECORD_MAGIC, sizeof(r->magic)) &&
	       r->version == BEZ_RECORD_VERSION && r->bytes == sizeof(*r) &&
	       r->digest == bez_digest(r, offsetof(struct bez_record, digest));
}

/* -1: not what it should be. */
static int show(const struct bez_record *r)
{
	printf("  record %llu: %s, because of: %s\n",
	       (unsigned long long)r->id,
	       bez_outcome_name((enum bez_outcome)r->outcome),
	       bez_outcome_name((enum bez_outcome)r->why));
	printf("    region '%.*s', byte %llu of it, at 0x%llx; %llu bytes are lost\n",
	       (int)sizeof(r->name), r->name, (unsigned long long)r->offset,
	       (unsigned long long)r->addr, (unsigned long long)r->width);
	printf("    process %d, thread %d, %llu us after the touch\n", r->pid,
	       r->tid, (unsigned long long)r->took_ns / 1000);
	return strcmp(r->name, "ledger") ? -1 : 0;
}

static int read_back(FILE *f)
{
	static const enum bez_outcome must[] = { BEZ_OUTCOME_SHUTDOWN_BEGUN,
						 BEZ_OUTCOME_SHUTDOWN };
	struct bez_record r;
	size_t i;

	rewind(f);
	for (i = 0; fread(&r, sizeof(r), 1, f) == 1; i++) {
		if (!is_whole(&r)) {
			printf("  record %zu is damaged\n", i + 1);
			return -1;
		}
		if (show(&r) || i > 1 || r.outcome != must[i])
			return -1;
	}
	return i == 2 ? 0 : -1;
}

int die_in_order(const struct options *o)
{
	FILE *f = tmpfile();
	int status, well;
	pid_t pid;

	pid = f ? fork() : -1;
	if (!pid)
		_exit(child(o, fileno(f)));
	if (pid < 0) {
		could_not("--die", -errno);
		return 2;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR) {
			could_not("waitpid", -errno);
			return 2;
		}
	if (WIFEXITED(status) && WEXITSTATUS(status) == COULD_NOT)
		return 2;
	puts("a page of the ledger was lost, which has no source and may not be missing");
	if (WIFSIGNALED(status))
		printf("  the program died of signal %d (%s), as without bezoar\n",
		       WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		printf("  the program ended with status %d\n",
		       WEXITSTATUS(status));
	puts("what it left behind, in a file that goes with this demo (bezoar log reads such "
	     "files)");
	well = !read_back(f) && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGBUS;
	fclose(f);
	printf("\n%s\n", well ? "all is well" : "NOT ALL IS WELL");
	return well ? 0 : 1;
}
