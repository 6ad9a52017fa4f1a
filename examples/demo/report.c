/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "report.h"

#include <bezoar/inject.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LLU(x)	((unsigned long long)(x))
#define MIB(x)	((double)(x) / (1 << 20))

struct figures {
	double median_us, p99_us, max_us;
	double clean, poisoned;		/* operations per second */
	uint64_t unsaved;
	int died, ok;
	uint32_t fidelity;
	int memory_failure;
};

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The value that @percent of @n sorted ones do not exceed. */
static double percentile_us(const uint64_t *sorted, uint64_t n,
			    uint64_t percent)
{
	return n ? (double)sorted[(n * percent + 99) / 100 - 1] / 1e3 : 0;
}

static double per_second(const struct stretch *s)
{
	return s->seconds > 0 ? (double)s->operations / s->seconds : 0;
}

static struct figures work_out(const struct result *r)
{
	struct bez_status status = { .size = sizeof(status) };
	struct poison *p = r->poison;
	struct figures f = {
		.clean = per_second(&r->run.clean),
		.poisoned = per_second(&r->run.poisoned),
		.unsaved = poison_unsaved(p),
		.died = WIFSIGNALED(r->child_status) &&
			WTERMSIG(r->child_status) == SIGBUS,
		.fidelity = bez_inject_fidelity(p->backend),
	};

	qsort(p->took_ns, p->taken, sizeof(*p->took_ns), by_size);
	f.median_us = percentile_us(p->took_ns, p->taken, 50);
	f.p99_us = percentile_us(p->took_ns, p->taken, 99);
	f.max_us = percentile_us(p->took_ns, p->taken, 100);
	bez_status(&status);
	f.memory_failure = (int)status.memory_failure;
	f.ok = !r->broke_off && f.died && p->taken == p->count &&
	       !r->run.wrong_bytes && !r->run.wrong_answers &&
	       !r->run.unreadable && !f.unsaved && !p->not_ours && !p->missed &&
	       p->from_file + p->from_mirror == p->count &&
	       r->scratch.renewed == r->scratch.asked && !r->scratch.wrong;
	return f;
}

/* ------------------------------------------------------------------ table */

static void row(const char *name, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void row(const char *name, const char *format, ...)
{
	va_list args;

	printf("  %-36s ", name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static void print_kind(const struct result *r, const struct figures *f)
{
	uint64_t kept = bez_inject_frames_kept();

	row("made by", "%s, fidelity: %s",
	    bez_inject_backend_name(r->poison->backend),
	    bez_inject_fidelity_name(f->fidelity));
	if (f->fidelity < BEZ_INJECT_FIDELITY_KERNEL)
		row("", "(a mark in the page table; no memory was really lost)");
	else
		row("", "(the kernel's own memory_failure() ran for each)");
	row("memory failure in this kernel", "%s", f->memory_failure ?
	    "yes: SIGBUS with BUS_MCEERR_AR" : "no: SIGBUS with BUS_ADRERR");
	if (kept)
		row("pages out of use until next boot", "%llu", LLU(kept));
}

static void print_refused(const struct poison *p)
{
	int i;

	row("refused", "%llu", LLU(p->refused));
	for (i = 0; i < POISON_OUTCOMES; i++)
		if (p->refused_why[i])
			row("", "%llu: %s", LLU(p->refused_why[i]),
			    bez_outcome_name((enum bez_outcome)i));
}

static void print_outcomes(const struct poison *p)
{
	int i;

	for (i = 0; i < POISON_OUTCOMES; i++)
		if (p->outcomes[i] && i != BEZ_OUTCOME_REPLACED)
			row(bez_outcome_name((enum bez_outcome)i), "%llu",
			    LLU(p->outcomes[i]));
}

static void print_child(const struct result *r)
{
	int status = r->child_status;

	puts("\nwithout bezoar, one page lost");
	if (WIFSIGNALED(status))
		row("the program", "died of signal %d (%s); a shell says %d",
		    WTERMSIG(status), strsignal(WTERMSIG(status)),
		    128 + WTERMSIG(status));
	else
		row("the program", "exit status %d", WEXITSTATUS(status));
}

static void print_scratch(const struct scratch *s)
{
	puts("\nwhat has no source");
	row("pages of scratch lost", "%llu of %llu", LLU(s->made),
	    LLU(s->asked));
	row("threads that left by their scope", "%llu times", LLU(s->left));
	row("losses that the owner was told of", "%llu", LLU(s->told));
	row("named, cleared, computed again", "%llu", LLU(s->renewed));
	row("wrong sums", "%llu of %llu", LLU(s->wrong), LLU(s->sums));
}

static void print_table(const struct result *r, const struct figures *f)
{
	const struct poison *p = r->poison;

	print_child(r);
	puts("\nwith bezoar");
	row("pages lost", "%llu of %llu", LLU(p->made - p->passed_over),
	    LLU(p->count));
	row("SIGBUS taken by who touched it", "%llu", LLU(p->taken));
	if (p->early)
		row("... by bezoar's thread, as a notice", "%llu",
		    LLU(p->early));
	row("replaced from its file", "%llu", LLU(p->from_file));
	row("replaced from the mirror", "%llu", LLU(p->from_mirror));
	print_refused(p);
	row("wrong bytes", "%llu", LLU(r->run.wrong_bytes));
	row("wrong answers", "%llu", LLU(r->run.wrong_answers));
	if (r->run.unreadable)
		row("work broken off by a lost page", "%llu",
		    LLU(r->run.unreadable));
	if (p->not_ours)
		row("replaced, but not lost by us", "%llu", LLU(p->not_ours));
	if (p->missed)
		row("events missed", "%llu", LLU(p->missed));
	row("from fault to resume", "median %.1f us, p99 %.1f us, max %.1f us",
	    f->median_us, f->p99_us, f->max_us);
	row("", "(handler entered to fault recorded: the kernel's part is not");
	row("", "in it; waits for a processor are: %d threads, %ld processors)",
	    WORKERS, sysconf(_SC_NPROCESSORS_ONLN));
	row("work with poison", "%.0f operations/s (%.1f s)", f->poisoned,
	    r->run.poisoned.seconds);
	row("without, in turns with it", "%.0f operations/s (%.1f s)", f->clean,
	    r->run.clean.seconds);
	row("ratio", "%.3f, losing up to %llu pages a second",
	    f->clean > 0 ? f->poisoned / f->clean : 0, LLU(r->options->rate));
	print_scratch(&r->scratch);
	puts("\nother ends of a fault");
	print_outcomes(p);
	puts("\nhow true to life the poison was");
	print_kind(r, f);
	printf("\n%s\n", f->ok ? "all is well" : "NOT ALL IS WELL");
}

/* ------------------------------------------------------------------- JSON */

/* By the name of the outcome, of those that there were. */
static void print_counts(const char *name, const uint64_t *counts)
{
	const char *comma = "";
	int i;

	printf("\"%s\": {", name);
	for (i = 0; i < POISON_OUTCOMES; i++) {
		if (!counts[i])
			continue;
		printf("%s \"%s\": %llu", comma,
		       bez_outcome_name((enum bez_outcome)i), LLU(counts[i]));
		comma = ",";
	}
	printf(" },\n");
}

static void print_json(const struct result *r, const struct figures *f)
{
	const struct poison *p = r->poison;

	printf("{\n\"ok\": %s,\n\"seed\": %llu,\n\"threads\": %d,\n"
	       "\"processors\": %ld,\n\"rate\": %llu,\n",
	       f->ok ? "true" : "false", LLU(r->options->seed), WORKERS,
	       sysconf(_SC_NPROCESSORS_ONLN), LLU(r->options->rate));
	printf("\"files\": %zu,\n\"file_bytes\": %zu,\n\"pages\": %zu,\n"
	       "\"index_pages\": %zu,\n", r->memory->file_count,
	       r->memory->file_bytes, r->memory->pages,
	       r->memory->pages - r->memory->file_pages);
	printf("\"without_bezoar\": { \"signal\": %d, \"exit\": %d },\n",
	       WIFSIGNALED(r->child_status) ? WTERMSIG(r->child_status) : 0,
	       WIFEXITED(r->child_status) ? WEXITSTATUS(r->child_status) : -1);
	printf("\"asked\": %llu,\n\"made\": %llu,\n\"taken\": %llu,\n"
	       "\"early\": %llu,\n", LLU(p->count),
	       LLU(p->made - p->passed_over), LLU(p->taken), LLU(p->early));
	printf("\"from_file\": %llu,\n\"from_mirror\": %llu,\n"
	       "\"refused\": %llu,\n\"not_ours\": %llu,\n"
	       "\"events_missed\": %llu,\n", LLU(p->from_file),
	       LLU(p->from_mirror), LLU(p->refused), LLU(p->not_ours),
	       LLU(p->missed));
	printf("\"scratch\": { \"asked\": %llu, \"made\": %llu, \"left\": %llu, "
	       "\"told\": %llu, \"renewed\": %llu, \"sums\": %llu, "
	       "\"wrong\": %llu },\n", LLU(r->scratch.asked),
	       LLU(r->scratch.made), LLU(r->scratch.left),
	       LLU(r->scratch.told), LLU(r->scratch.renewed),
	       LLU(r->scratch.sums), LLU(r->scratch.wrong));
	print_counts("refused_why", p->refused_why);
	print_counts("outcomes", p->outcomes);
	printf("\"wrong_bytes\": %llu,\n\"wrong_answers\": %llu,\n"
	       "\"unreadable\": %llu,\n", LLU(r->run.wrong_bytes),
	       LLU(r->run.wrong_answers), LLU(r->run.unreadable));
	printf("\"fault_to_resume_us\": { \"median\": %.3f, \"p99\": %.3f, "
	       "\"max\": %.3f },\n", f->median_us, f->p99_us, f->max_us);
	printf("\"operations_per_second\": { \"poisoned\": %.0f, "
	       "\"clean\": %.0f, \"ratio\": %.4f },\n", f->poisoned, f->clean,
	       f->clean > 0 ? f->poisoned / f->clean : 0);
	printf("\"seconds\": { \"poisoned\": %.3f, \"clean\": %.3f },\n",
	       r->run.poisoned.seconds, r->run.clean.seconds);
	printf("\"backend\": \"%s\",\n\"fidelity\": \"%s\",\n"
	       "\"memory_failure\": %s,\n\"frames_kept\": %llu\n}\n",
	       bez_inject_backend_name(p->backend),
	       bez_inject_fidelity_name(f->fidelity),
	       f->memory_failure ? "true" : "false",
	       LLU(bez_inject_frames_kept()));
}

int report(const struct result *r)
{
	struct figures f = work_out(r);

	if (r->options->json)
		print_json(r, &f);
	else
		print_table(r, &f);
	return f.ok;
}
