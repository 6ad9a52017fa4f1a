/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <bezoar/inject.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LLU(x)	((unsigned long long)(x))
#define FINDINGS 32

/* All CPUs together, what the monitor reads itself, and what does not fit. */
struct figures {
	struct board_count guest;
	uint64_t read_short;	/* lost pages that bez_vm_read() refused, */
	uint64_t read_lost;	/* read all the same, */
	uint64_t good_short;	/* good ones that it refused */
	uint64_t listed;	/* lost pages in the library's list, */
	uint64_t listed_good;	/* and others there */
	double seconds;
	char findings[FINDINGS][100];
	uint32_t finding_count;
};

void result_begin(struct result *r)
{
	clock_gettime(CLOCK_MONOTONIC, &r->begin);
}

void result_end(struct result *r)
{
	clock_gettime(CLOCK_MONOTONIC, &r->end);
}

static void add_guest(struct board_count *sum, const struct board *board)
{
	uint64_t *to = (uint64_t *)sum;
	uint32_t cpu, i;

	for (cpu = 0; cpu < board->cpus; cpu++) {
		const uint64_t *from = (const uint64_t *)&board->count[cpu];

		for (i = 0; i < sizeof(*sum) / sizeof(*to); i++)
			to[i] += from[i];
	}
}

/* What a device of this machine would have got of its memory. */
static void read_all(struct figures *f, struct machine *m)
{
	unsigned char bytes[4096];
	uint64_t i;

	for (i = 0; i < m->memory.frames; i++) {
		uint64_t frame = memory_frame(&m->memory, i);
		size_t left = bez_vm_read(m->relay, bytes, frame << 12, sizeof(bytes));

		if (!ledger_is_lost(&m->ledger, frame))
			f->good_short += left != 0;
		else if (left == sizeof(bytes))
			f->read_short++;
		else
			f->read_lost++;
	}
}

static void list_all(struct figures *f, const struct machine *m)
{
	struct bez_vm_lost lost;
	uint64_t at = 0, gpa;

	while (!bez_vm_lost_next(m->relay, &at, &lost))
		for (gpa = lost.gpa; gpa < lost.gpa + lost.len; gpa += 4096) {
			if (ledger_is_lost(&m->ledger, gpa >> 12))
				f->listed++;
			else
				f->listed_good++;
		}
}

static void finding(struct figures *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void finding(struct figures *f, const char *format, ...)
{
	va_list args;

	if (f->finding_count == FINDINGS)
		return;
	va_start(args, format);
	vsnprintf(f->findings[f->finding_count++], sizeof(f->findings[0]), format, args);
	va_end(args);
}

static void must_be(struct figures *f, const char *what, uint64_t is, uint64_t must)
{
	if (is != must)
		finding(f, "%s: %llu, must be %llu", what, LLU(is), LLU(must));
}

/* The guest against what was lost. */
static void check_guest(struct figures *f, const struct machine *m)
{
	const struct board_count *g = &f->guest;
	const struct ledger *l = &m->ledger;

	must_be(f, "wrong bytes", g->wrong_bytes, 0);
	must_be(f, "nonsense", g->nonsense, 0);
	must_be(f, "told of pages that are not lost", l->told_good, 0);
	must_be(f, "frames that there are not", l->stray, 0);
	must_be(f, "out of use without a reason", l->out_untold, 0);
	must_be(f, "used again after that", l->used_again, 0);
	must_be(f, "lost pages that the guest was told of", l->told, l->lost);
	must_be(f, "lost pages out of use", l->out, l->lost);
	must_be(f, "pages dropped, as the guest says", g->dropped, l->out);
	if (!g->steps)
		finding(f, "no task has ever looked at its pages");
}

/* The library against the guest: what was delivered was seen. What only fills a bank
 * may still lie there. */
static void check_relay(struct figures *f, const struct machine *m)
{
	const struct told *t = &m->told;
	const struct board_count *g = &f->guest;

	must_be(f, "SRAR that the guest saw", g->srar, t->delivered[BEZ_VM_ERROR_SRAR]);
	if (!m->amd)
		must_be(f, "SRAO that the guest saw", g->srao,
			t->delivered[BEZ_VM_ERROR_SRAO]);
	must_be(f, "broadcasts that the guest saw", g->broadcast, t->others);
	if (g->corrected > t->delivered[BEZ_VM_ERROR_CORRECTED])
		finding(f, "corrected errors out of nothing: %llu", LLU(g->corrected));
	must_be(f, "errors delivered, as events and as a count",
		bez_vm_outcome_count(m->relay, BEZ_VM_OUTCOME_DELIVERED),
		t->delivered[1] + t->delivered[2] + t->delivered[3] + t->delivered[4]);
	must_be(f, "machine checks that KVM refused",
		bez_vm_outcome_count(m->relay, BEZ_VM_OUTCOME_REFUSED), 0);
	must_be(f, "times that it gave up",
		bez_vm_outcome_count(m->relay, BEZ_VM_OUTCOME_GAVE_UP), 0);
}

static void check_reads(struct figures *f, const struct machine *m)
{
	must_be(f, "lost pages that a read refuses", f->read_short, m->ledger.lost);
	must_be(f, "lost pages that it reads", f->read_lost, 0);
	must_be(f, "good pages that it refuses", f->good_short, 0);
	must_be(f, "lost pages in the list", f->listed, m->ledger.lost);
	must_be(f, "good pages in the list", f->listed_good, 0);
}

static void work_out(struct figures *f, const struct result *r)
{
	struct machine *m = r->machine;

	memset(f, 0, sizeof(*f));
	f->seconds = (double)(r->end.tv_sec - r->begin.tv_sec) +
		     (double)(r->end.tv_nsec - r->begin.tv_nsec) / 1e9;
	add_guest(&f->guest, m->memory.board);
	read_all(f, m);
	list_all(f, m);
	if (r->broke_off)
		finding(f, "broken off: %s", m->ledger.failed ? "a CPU has ended" :
			r->poisoner.error ? "no page could be lost" : "out of time");
	must_be(f, "pages lost", r->poisoner.made, m->options->poison);
	check_guest(f, m);
	check_relay(f, m);
	check_reads(f, m);
}

/* ------------------------------------------------------------------ table */

static void row(const char *name, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void row(const char *name, const char *format, ...)
{
	va_list args;

	printf("  %-44s ", name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static void print_guest(const struct figures *f)
{
	const struct board_count *g = &f->guest;

	puts("\nwhat the guest did");
	row("machine checks", "%llu", LLU(g->machine_checks));
	row("  action required", "%llu", LLU(g->srar));
	row("  action optional", "%llu", LLU(g->srao));
	row("  another CPU's", "%llu", LLU(g->broadcast));
	row("  told to this CPU alone (LMCE)", "%llu", LLU(g->local));
	row("found in a bank: deferred, not consumed", "%llu", LLU(g->deferred));
	row("found in a bank: corrected", "%llu", LLU(g->corrected));
	row("pages taken out of use", "%llu", LLU(g->dropped));
	row("  named again after that", "%llu", LLU(g->again));
	row("pages made anew for their task", "%llu", LLU(g->repaired));
	row("tasks killed", "%llu", LLU(g->killed));
	row("tasks begun anew after that", "%llu", LLU(g->restarted));
	row("tasks that came to their end", "%llu", LLU(g->finished));
	row("times that a task looked at all its pages", "%llu", LLU(g->steps));
	row("wrong bytes", "%llu", LLU(g->wrong_bytes));
	row("nonsense", "%llu", LLU(g->nonsense));
}

static void print_relay(const struct figures *f, const struct machine *m)
{
	int i;

	puts("\nwhat the relay did");
	for (i = 1; i <= BEZ_VM_OUTCOME_REFUSED; i++)
		if (bez_vm_outcome_count(m->relay, (enum bez_vm_outcome)i))
			row(bez_vm_outcome_name((enum bez_vm_outcome)i), "%llu",
			    LLU(bez_vm_outcome_count(m->relay, (enum bez_vm_outcome)i)));
	for (i = 1; i < KINDS; i++) {
		char name[64];

		snprintf(name, sizeof(name), "  delivered: %s",
			 bez_vm_error_name((enum bez_vm_error)i));
		row(name, "%llu", LLU(m->told.delivered[i]));
	}
	row("events", "%llu", LLU(m->told.events));
	row("pages in its list of lost ones", "%llu", LLU(f->listed));
	row("pages that bez_vm_read() refused", "%llu", LLU(f->read_short));
}

static void print_table(const struct result *r, const struct figures *f)
{
	const struct machine *m = r->machine;
	uint32_t i;

	printf("tinyvm: %llu vCPUs of %s, %llu MiB in %d slots, seed %llu\n\n",
	       LLU(m->options->vcpus), m->amd ? "AMD" : "Intel",
	       LLU(m->options->memory_mib), SLOTS, LLU(m->options->seed));
	puts("what was lost");
	row("pages", "%llu of %llu, in %.1f s", LLU(r->poisoner.made),
	    LLU(m->options->poison), f->seconds);
	row("made by", "%s", m->options->backend == BEZ_INJECT_MADV ?
	    "madvise: real memory, lost until the next boot" :
	    "a mark in the page table: no memory was really lost");
	row("of these the guest was told", "%llu", LLU(m->ledger.told));
	print_guest(f);
	print_relay(f, m);
	putchar('\n');
	for (i = 0; i < f->finding_count; i++)
		printf("WRONG: %s\n", f->findings[i]);
	puts(f->finding_count ? "NOT ALL IS WELL" : "all is well");
}

/* ------------------------------------------------------------------- JSON */

static void print_json(const struct result *r, const struct figures *f)
{
	const struct machine *m = r->machine;
	const struct board_count *g = &f->guest;
	uint32_t i;

	printf("{\n\"ok\": %s,\n\"seed\": %llu,\n\"vendor\": \"%s\",\n"
	       "\"vcpus\": %llu,\n\"memory_mib\": %llu,\n\"seconds\": %.3f,\n",
	       f->finding_count ? "false" : "true", LLU(m->options->seed),
	       m->amd ? "amd" : "intel", LLU(m->options->vcpus),
	       LLU(m->options->memory_mib), f->seconds);
	printf("\"backend\": \"%s\",\n\"asked\": %llu,\n\"lost\": %llu,\n"
	       "\"told\": %llu,\n\"told_good\": %llu,\n\"out\": %llu,\n",
	       bez_inject_backend_name(m->options->backend), LLU(m->options->poison),
	       LLU(m->ledger.lost), LLU(m->ledger.told), LLU(m->ledger.told_good),
	       LLU(m->ledger.out));
	printf("\"guest\": { \"machine_checks\": %llu, \"srar\": %llu, \"srao\": %llu, "
	       "\"broadcast\": %llu, \"local\": %llu, \"deferred\": %llu, "
	       "\"corrected\": %llu, ",
	       LLU(g->machine_checks), LLU(g->srar), LLU(g->srao), LLU(g->broadcast),
	       LLU(g->local), LLU(g->deferred), LLU(g->corrected));
	printf("\"dropped\": %llu, \"again\": %llu, \"repaired\": %llu, "
	       "\"killed\": %llu, \"restarted\": %llu, \"finished\": %llu, "
	       "\"steps\": %llu, \"wrong_bytes\": %llu, \"nonsense\": %llu },\n",
	       LLU(g->dropped), LLU(g->again), LLU(g->repaired), LLU(g->killed),
	       LLU(g->restarted), LLU(g->finished), LLU(g->steps), LLU(g->wrong_bytes),
	       LLU(g->nonsense));
	printf("\"delivered\": {");
	for (i = 1; i < KINDS; i++)
		printf("%s \"%s\": %llu", i > 1 ? "," : "",
		       bez_vm_error_name((enum bez_vm_error)i),
		       LLU(m->told.delivered[i]));
	printf(" },\n\"outcomes\": {");
	for (i = 1; i <= BEZ_VM_OUTCOME_REFUSED; i++)
		printf("%s \"%s\": %llu", i > 1 ? "," : "",
		       bez_vm_outcome_name((enum bez_vm_outcome)i),
		       LLU(bez_vm_outcome_count(m->relay, (enum bez_vm_outcome)i)));
	printf(" },\n\"listed\": %llu,\n\"read_refused\": %llu,\n\"findings\": [",
	       LLU(f->listed), LLU(f->read_short));
	for (i = 0; i < f->finding_count; i++)
		printf("%s\n\"%s\"", i ? "," : "", f->findings[i]);
	printf("]\n}\n");
}

int report(const struct result *r)
{
	static struct figures f;

	work_out(&f, r);
	if (r->machine->options->json)
		print_json(r, &f);
	else
		print_table(r, &f);
	return !f.finding_count;
}
