/* SPDX-License-Identifier: MIT */
/*
 * bezoar check: which clauses of the contract this machine keeps. Words and ids
 * are contract/clauses' own; a clause that depends on kernel and machine has a
 * probe, a small experiment in a process of its own. What no machine can change
 * (the models, the manual) is not asked here.
 */
#ifndef BEZOAR_CHECK_H
#define BEZOAR_CHECK_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/* A line of contract/clauses; made by clauses.py. */
struct clause {
	const char *id, *text, *kernel;
};

extern const struct clause clauses[];
extern const size_t clauses_count;

const struct clause *clause_of(const char *id);	/* NULL: there is none */

/* The numbers are nobody's business: JSON has the words. */
enum verdict {
	VERDICT_NONE,			/* the probe ended without one */
	VERDICT_HOLDS,
	VERDICT_BROKEN,
	VERDICT_UNTESTED
};

const char *verdict_name(enum verdict v);

struct probe {
	const char *id;			/* of its clause */
	void (*run)(void);		/* see probe.h */
	unsigned int pages;		/* that it loses, at most, if poison is
					 * real */
	const char *holds, *broken;	/* what that means for you */
	const char *survives;		/* "... the loss of ..."; or NULL */
};

extern const struct probe probes[];
extern const size_t probes_count;

#define PROBE_WHY	240
#define PROBE_FRAMES	64

struct answer {
	enum verdict verdict;
	char why[PROBE_WHY];		/* "": it holds, and that is all */
	uint64_t took_ns;
	unsigned int lost;		/* pages of real memory ... */
	unsigned int given_back;	/* of these, undone */
	uint64_t frames[PROBE_FRAMES];
};

struct check_options {
	int json, quiet, real, yes, strict;
	unsigned int seconds;		/* for each probe */
};

/* In a process of its own, with @mask, which is dead afterwards, and all that it
 * made: whose pages they were, nobody has them any more. */
void run_probe(const struct probe *probe, const struct check_options *options,
	       const sigset_t *mask, struct answer *ret_answer);

/* ------------------------------------------------------------- real poison */

/* HardwareCorrupted of /proc/meminfo in KiB; -1: it does not say. */
long real_corrupted(void);

/* What it will cost is said and agreed to: 0; else -1, and said why not. */
int real_agreed(const struct check_options *options);

/* Why pages cannot be lost by @backend, of bez_inject(): where another one would do, that
 * is a word of C, and @instead stands there. */
#define REAL_WHY 256
const char *real_why(uint32_t backend, const char *instead, char ret[REAL_WHY]);

/* Give the pages back that were lost, where the kernel can: real_can_undo(). */
void real_undo(struct answer *answer);
int real_can_undo(void);

/* ------------------------------------------------------------------- facts */

struct fact {
	const char *group, *name, *means;
	char *value;			/* NULL: it can not be read */
};

struct facts {
	struct fact *fact;
	size_t count;
	int no_memory;
};

void facts_free(struct facts *facts);

/* The value of one; NULL: not readable. */
const char *fact_of(const struct facts *facts, const char *name);

/* ----------------------------------------------------------------- results */

struct results {
	const struct check_options *options;
	struct answer *answer;		/* one for each probe */
	struct facts facts;
	unsigned int lost, given_back;	/* real pages, of all probes */
	long before, after;		/* real_corrupted() */
	unsigned int count[VERDICT_UNTESTED + 1];
	char *sentence;
	int status;
};

/* "This machine can survive ..."; NULL: no memory. */
char *sentence_of(const struct results *results);

/* On standard output. show_json: 0, or -1 if there was no memory. */
void show_results(const struct results *results);
int show_results_json(const struct results *results);

#endif
