/* SPDX-License-Identifier: MIT */
/*
 * kv-campaign: lose pages under the key-value server, one after the other, and check
 * every answer of it: no value is ever wrong, the keys of lost pages are missing and
 * no others, it is the same process all the time, and its memory does not grow.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <bezoar/inject.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "campaign_model.h"

#define CANNOT		77
#define WORK		40	/* things that are done between two losses */
#define LOOK		20	/* losses between two looks at every key */
#ifdef __SANITIZE_ADDRESS__
#define RSS_MORE	(1u << 20)	/* it keeps what was freed */
#else
#define RSS_MORE	1024	/* KiB that the server may need later: stacks,
				 * buffers */
#endif
#define MAPS_MORE	16

static const char help[] =
"usage: kv-campaign [--pages N] [--keys N] [--mib N] [--seed N] [--real]\n"
"                   [--json] [--with COMMAND]\n"
"\n"
"Lose pages of the key-value server's memory while clients use it and check every\n"
"answer. The whole campaign, 2,000 pages, takes half a minute.\n"
"\n"
"  --pages N   to lose (default: 2000); one in twenty is of the index\n"
"  --keys N    of the client that looks at everything (default: 3000)\n"
"  --mib N     memory of the server for items (default: 64)\n"
"  --seed N    which pages and what is done (default: 1); when threads do it is\n"
"              another matter\n"
"  --real      lose pages of real memory, by madvise(2): needs root and a kernel\n"
"              with memory failure; they are out of use until the next boot\n"
"  --with CMD  run CMD by the shell, a client of 127.0.0.1:$KV_PORT, and lose\n"
"              pages until it ends; then what it has stored may be lost, too\n"
"  --json      the result as JSON\n"
"  --help      this text\n"
"\n"
"Exit status: 0 if all is well; 1 if not; 2 if it does not understand; 77 if no\n"
"page can be lost here.\n";

struct options {
	uint64_t pages, keys, mib, seed;
	bool real, json;
	const char *with;
};

struct memory {
	uint64_t rss_kib, maps;
};

struct result {
	uint64_t lost, lost_index;	/* pages */
	uint64_t said;			/* of these, by bez_lost_add() */
	uint64_t reported;		/* keys on them */
	uint64_t strange;		/* reported, and nobody's */
	struct memory before, after;
	uint64_t pages, keys, bytes, rebuilt, evictions, pid; /* its "stats" */
	double seconds;
	struct hammered hammered;
	bool ended_well, broken_off;
	int other;			/* pid of --with */
	bool other_failed;
};

static uint64_t number(const char *option, const char *text, uint64_t min,
		       uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < min ||
	    value > max) {
		fprintf(stderr, "kv-campaign: --%s wants a number from %llu to "
			"%llu, not '%s'; see kv-campaign --help\n", option,
			(unsigned long long)min, (unsigned long long)max, text);
		exit(2);
	}
	return value;
}

static const struct option known[] = {
	{ "pages", required_argument, NULL, 'p' },
	{ "keys", required_argument, NULL, 'k' },
	{ "mib", required_argument, NULL, 'm' },
	{ "seed", required_argument, NULL, 's' },
	{ "real", no_argument, NULL, 'r' },
	{ "with", required_argument, NULL, 'w' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static void parse(int argc, char **argv, struct options *o)
{
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (c) {
		case 'p': o->pages = number("pages", optarg, 1, 1000000); break;
		case 'k': o->keys = number("keys", optarg, 1, 100000); break;
		case 'm': o->mib = number("mib", optarg, 32, 4096); break;
		case 's': o->seed = number("seed", optarg, 0, UINT64_MAX); break;
		case 'r': o->real = true; break;
		case 'w': o->with = optarg; break;
		case 'j': o->json = true; break;
		case 'h': fputs(help, stdout); exit(0);
		default: fputs(help, stderr); exit(2);
		}
	if (optind != argc) {
		fputs(help, stderr);
		exit(2);
	}
}

static struct memory memory_of(int pid)
{
	struct memory m = { 0, 0 };
	char line[512];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/status", pid);
	f = fopen(line, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmRSS:", 6))
			m.rss_kib = strtoull(line + 6, NULL, 10);
	if (f)
		fclose(f);
	snprintf(line, sizeof(line), "/proc/%d/maps", pid);
	f = fopen(line, "r");
	while (f && fgets(line, sizeof(line), f))
		m.maps++;
	if (f)
		fclose(f);
	return m;
}

/* ------------------------------------------------------ one after the other */

static int start_other(const struct options *o, const struct server *s)
{
	char port[16];
	int pid;

	snprintf(port, sizeof(port), "%d", s->port);
	setenv("KV_PORT", port, 1);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		/* standard output is the result's */
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", o->with, (char *)NULL);
		_exit(127);
	}
	return pid;
}

/* It is under way; once more when it is not. */
static bool other_goes_on(struct result *r)
{
	int status;

	if (!r->other || waitpid(r->other, &status, WNOHANG) == 0)
		return r->other;
	r->other = 0;
	r->other_failed = status != 0;
	return false;
}

static int lose_one(struct server *s, struct result *r, uint64_t n)
{
	static struct report report;
	enum loss how = n % 20 == 19 ? LOSS_INDEX :
			n % 40 == 5 ? LOSS_SAID : LOSS_ITEMS;
	size_t i;

	if (server_lose(s, how, &report))
		return -1;
	if (how == LOSS_INDEX) {
		r->lost_index++;
		/* every chain is walked */
		model_look_at_all();
		return 0;
	}
	r->lost++;
	r->said += how == LOSS_SAID;
	r->reported += report.keys;
	for (i = 0; i < report.keys; i++)
		if (!hammers_lost(report.key[i]) &&
		    model_lost(report.key[i]) < 0)
			r->strange++;
	for (i = 0; i < report.keys; i++)
		model_meet(report.key[i]);
	return 0;
}

static void lose_all(struct server *s, struct client *c, struct result *r,
		     const struct options *o)
{
	const uint64_t warm = o->pages / 10;
	uint64_t n;

	if (o->with)
		r->other = start_other(o, s);
	for (n = 0; (n < o->pages || other_goes_on(r)) && !c->broken; n++) {
		if (n == warm)
			r->before = memory_of(s->pid);
		if (lose_one(s, r, n))
			break;
		model_work(WORK);
		if (n % LOOK == LOOK - 1)
			model_look_at_all();
	}
	r->broken_off = n < o->pages || r->other_failed;
	model_look_at_all();
	r->after = memory_of(s->pid);
}

static void run(struct server *s, struct result *r, const struct options *o)
{
	struct timespec from, to;
	struct client c;

	client_open(&c, s->fd[0], "the client");
	clock_gettime(CLOCK_MONOTONIC, &from);
	model_start(&c, o->keys, o->seed);
	if (hammers_start(s, o->seed))
		exit(1);
	lose_all(s, &c, r, o);
	clock_gettime(CLOCK_MONOTONIC, &to);
	r->seconds = (double)(to.tv_sec - from.tv_sec) +
		     (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	r->hammered = hammers_stop();
	model_look_at_all();
	r->pages = client_stat(&c, "lost_pages");
	r->keys = client_stat(&c, "lost_keys");
	r->bytes = client_stat(&c, "lost_bytes");
	r->rebuilt = client_stat(&c, "index_rebuilt");
	r->evictions = client_stat(&c, "evictions");
	r->pid = client_stat(&c, "pid");
	r->broken_off |= c.broken || r->hammered.broken;
	client_close(&c);
	r->ended_well = server_stop(s);
}

/* --------------------------------------------------------------- and after */

struct check {
	const char *name;
	uint64_t is;
	const char *rule;		/* NULL: it is a figure */
	bool ok;
};

static bool report(const struct result *r, const struct options *o, int pid)
{
	const struct found f = model_found();
	const struct check checks[] = {
		{ "pages of items lost", r->lost, NULL, r->lost > 0 },
		{ "pages of the index lost", r->lost_index, NULL, true },
		/* of a few pages it may be that no key was looked up by them */
		{ "index made anew", r->rebuilt, "if pages of it were lost",
		  r->lost_index ? r->rebuilt || r->lost_index < 10 :
				  !r->rebuilt },
		{ "keys on lost pages", r->reported, NULL, true },
		{ "keys lost, the server says", r->keys,
		  "those, but for what was overwritten first",
		  r->keys <= r->reported && r->keys >= f.met },
		{ "pages lost, the server says", r->pages, "those it met",
		  r->pages <= r->lost && r->pages >= r->lost / 2 },
		{ "bytes of keys and values lost", r->bytes, NULL, true },
		{ "answers that were checked", f.answers + r->hammered.answers,
		  NULL, f.answers > 0 },
		{ "wrong or missing answers", f.wrong + r->hammered.wrong, "0",
		  !(f.wrong + r->hammered.wrong) },
		{ "keys missing without a loss", r->hammered.not_excused, "0",
		  !r->hammered.not_excused },
		{ "keys of a page that are nobody's", r->strange, "0",
		  !r->strange || o->with },
		{ "keys dropped for want of room", r->evictions, "0",
		  !r->evictions },
		{ "resident memory before, KiB", r->before.rss_kib, NULL, true },
		{ "resident memory after, KiB", r->after.rss_kib,
		  "as before, within 1 MiB",
		  r->after.rss_kib <= r->before.rss_kib + RSS_MORE &&
		  r->after.rss_kib },
		{ "mappings before", r->before.maps, NULL, true },
		/* what a cover was on stays a mapping of its own */
		{ "mappings after", r->after.maps,
		  "as before, within 16, and 2 for each bez_lost_add()",
		  r->after.maps <= r->before.maps + MAPS_MORE + 2 * r->said },
		{ "restarts", r->pid != (uint64_t)pid, "0",
		  r->pid == (uint64_t)pid },
		{ "ended well", r->ended_well && !r->broken_off, "1",
		  r->ended_well && !r->broken_off },
	};
	const size_t count = sizeof(checks) / sizeof(*checks);
	bool ok = true;
	size_t i;

	for (i = 0; i < count; i++)
		ok &= checks[i].ok;
	printf(o->json ? "{ \"ok\": %s, \"seconds\": %.1f" :
	       "%.0s%.1f seconds\n", o->json ? ok ? "true" : "false" : "",
	       r->seconds);
	for (i = 0; i < count; i++)
		if (o->json)
			printf(",\n  \"%s\": %llu", checks[i].name,
			       (unsigned long long)checks[i].is);
		else
			printf("%-34s %10llu%s%s%s\n", checks[i].name,
			       (unsigned long long)checks[i].is,
			       checks[i].ok ? "" : "   must be: ",
			       checks[i].ok ? "" : checks[i].rule ?
			       checks[i].rule : "another",
			       checks[i].ok ? "" : "!");
	puts(o->json ? " }" : ok ? "all is well" : "NOT ALL IS WELL");
	return ok;
}

int main(int argc, char **argv)
{
	struct options o = { .pages = 2000, .keys = 3000, .mib = 64, .seed = 1 };
	static struct result result;
	static struct server server;
	uint32_t backend;

	parse(argc, argv, &o);
	backend = o.real ? BEZ_INJECT_MADV : BEZ_INJECT_UFFD;
	if (bez_inject_available(backend)) {
		fprintf(stderr, "kv-campaign: no page can be lost here: %s\n",
			bez_inject_why(backend));
		return CANNOT;
	}
	signal(SIGPIPE, SIG_IGN);
	if (server_start(&server, o.mib, o.seed, o.real,
			 o.with != NULL))
		return 1;
	run(&server, &result, &o);
	return report(&result, &o, server.pid) ? 0 : 1;
}
