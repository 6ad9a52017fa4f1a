/* SPDX-License-Identifier: MIT */
/* The command: run every experiment, and say what came out. */
#include "facts.h"

#include <bezoar/inject.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/* Without a loss there is nothing to see. */
static int cannot_lose(const struct check_options *options, struct answer *a)
{
	uint32_t backend = options->real ? BEZ_INJECT_MADV : BEZ_INJECT_UFFD;
	char why[REAL_WHY];

	if (!bez_inject_available(backend))
		return 0;
	memset(a, 0, sizeof(*a));
	a->verdict = VERDICT_UNTESTED;
	snprintf(a->why, sizeof(a->why), "%s",
		 real_why(backend, "; leave out --real", why));
	return 1;
}

/*
 * Who is ended by a signal, whichever it is, gives back first what is lost. The
 * experiment has the mask of before: signals are what some of them are about.
 */
static void run_one(const struct probe *probe,
		    const struct check_options *options, struct answer *a)
{
	sigset_t all, before;

	if (cannot_lose(options, a))
		return;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, options->real ? &all : NULL, &before);
	run_probe(probe, options, &before, a);
	real_undo(a);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/*
 * To leave the machine as it was is part of the work. A frame is noted before
 * it is lost: if the kernel has moved the page in between, the one that was
 * given back had never been bad, which only its count tells.
 */
static int left_pages(const struct results *r)
{
	if (!r->lost || !real_can_undo())
		return 0;
	if (r->lost != r->given_back) {
		tool_say("%u pages could not be given back",
			 r->lost - r->given_back);
		return 1;
	}
	if (r->before < 0 || r->before == r->after)
		return 0;
	tool_say("HardwareCorrupted was %ld KiB, and is %ld: not all pages "
		 "that were lost are given back", r->before, r->after);
	return 1;
}

static int status_of(const struct results *r)
{
	if (left_pages(r))
		return TOOL_FAILED;
	if (r->count[VERDICT_BROKEN] ||
	    (r->options->strict && r->count[VERDICT_UNTESTED]))
		return TOOL_FOUND;
	return r->count[VERDICT_HOLDS] ? TOOL_OK : TOOL_NOTHING;
}

static int show(struct results *r)
{
	r->sentence = sentence_of(r);
	if (r->facts.no_memory || !r->sentence ||
	    (r->options->json && show_results_json(r))) {
		tool_say("no memory");
		return TOOL_FAILED;
	}
	if (!r->options->json)
		show_results(r);
	return r->status;
}

int tool_check(const struct check_options *options)
{
	struct results r = { .options = options };
	int status;
	size_t i;

	if (options->real && real_agreed(options))
		return TOOL_FAILED;
	r.answer = calloc(probes_count, sizeof(*r.answer));
	if (!r.answer) {
		tool_say("no memory");
		return TOOL_FAILED;
	}
	facts_of_kernel(&r.facts);
	facts_of_machine(&r.facts);
	facts_of_process(&r.facts);
	r.before = real_corrupted();
	for (i = 0; i < probes_count; i++) {
		run_one(&probes[i], options, &r.answer[i]);
		r.count[r.answer[i].verdict]++;
		r.lost += r.answer[i].lost;
		r.given_back += r.answer[i].given_back;
	}
	r.after = real_corrupted();
	r.status = status_of(&r);
	status = show(&r);
	tool_flush();
	facts_free(&r.facts);
	free(r.sentence);
	free(r.answer);
	return status;
}
