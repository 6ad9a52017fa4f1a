/* SPDX-License-Identifier: MIT */
/* A process that ends by a shutdown, and the one that looks at its end. */
#ifndef BEZOAR_TESTS_SHUTDOWN_HELP_H
#define BEZOAR_TESTS_SHUTDOWN_HELP_H

#include <bezoar/record.h>
#include <stdatomic.h>

#include "live.h"

/* What the process that ends tells the other. */
struct told {
	_Atomic uint32_t hooks;		/* as digits, in their order */
	_Atomic uint32_t tid, worker;	/* of a hook; of the worker */
	_Atomic uint64_t addr, lost, waiting;
	_Atomic uint32_t outcome, former, go;
	char comm[16];
};

extern struct told *told;
extern int records;			/* a file */
extern unsigned char *at;		/* two pages */
extern size_t page;

void prepare(void);

/* @options may be NULL. Two pages without a source whose loss is the end. */
void begin(struct bez_options *options);

/* Lose the first page, and touch it. */
void lose(void) __attribute__((noreturn));

/* How a process ends that does @child. */
int end_of(void (*child)(void));

/* The next record in @fd is one of the shutdown. */
void expect_record(int fd, uint32_t outcome, struct bez_record *r);

/* Two records and no more: how it began, how it ended. */
void expect_records(uint32_t outcome);

/* A hook that says its digit, and how it was called. */
void hook(const struct bez_event *loss, void *arg);
void say(uint32_t digit);
void add(bez_hook_fn fn, uintptr_t arg);

#endif
