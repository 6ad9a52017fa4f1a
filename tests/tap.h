/* SPDX-License-Identifier: MIT */
/*
 * The harness of all tests: a table of cases, a process for each, TAP 13 on
 * standard output. It takes no signal for itself, so that the cases can.
 *
 *	static void adds(void) { CHECK(1 + 1 == 2); }
 *	static void dies(void) { raise(SIGBUS); }
 *	static const struct tap_case cases[] = {
 *		{ .name = "adds", .run = adds },
 *		{ .name = "dies", .run = dies, .want_signal = SIGBUS },
 *	};
 *	TAP_MAIN(cases)
 *
 * A case passes if its process ends as the table says and none of its checks
 * failed. A case that runs without a single CHECK, and expects no signal or
 * exit status, fails: it has proved nothing.
 *
 * TAP_PATIENCE=N in the environment gives each case N times as long: for slow
 * machines, and for programs that a sanitizer or an emulator slows down.
 */
#ifndef BEZOAR_TESTS_TAP_H
#define BEZOAR_TESTS_TAP_H

#include <stddef.h>

struct tap_case {
	const char *name;
	void (*run)(void);
	int want_signal;	/* 0, or the signal it must die of */
	int want_exit;		/* 0, or the status it must exit with */
	unsigned int timeout_s;	/* 0: 60; then it is killed and has failed */
	const void *data;	/* for cases that are variants: tap_data() */
};

/* Run all cases whose name contains argv[1], or all of them. */
int tap_main(const struct tap_case *cases, size_t count, int argc, char **argv);

#define TAP_MAIN(cases)							\
	int main(int argc, char **argv)					\
	{								\
		return tap_main(cases, sizeof(cases) / sizeof((cases)[0]), \
				argc, argv);				\
	}

/* Inside a case. A failed check says where and what, and ends the case. */
#define CHECK(cond) tap_check(!!(cond), __FILE__, __LINE__, #cond, NULL)
#define CHECKF(cond, ...) \
	tap_check(!!(cond), __FILE__, __LINE__, #cond, __VA_ARGS__)
/* Two integers are equal; both are printed if not. */
#define CHECK_EQ(a, b)							\
	tap_check_eq((long long)(a), (long long)(b), __FILE__, __LINE__, \
		     #a " == " #b)

void tap_check(int ok, const char *file, int line, const char *what,
	       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void tap_check_eq(long long a, long long b, const char *file, int line,
		  const char *what);

/* End the case as skipped; the reason is part of the result. Never returns. */
void tap_skip(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

/* What limits that a case sets itself are to be multiplied with, too. */
unsigned int tap_patience(void);

/*
 * From here on (1) until it is over (0) the case waits for what it has no part in:
 * another test that has the machine's only one of something. That is not of its
 * time. Meson's limit for the program is as before.
 */
void tap_waits(int yes);

/* In a process that a case has made: whether its checks failed is for the case
 * to see, by its exit status (99), and does not fail the case by itself. */
void tap_apart(void);

/* A line of explanation: "# ..." */
void tap_diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The data of the running case. */
const void *tap_data(void);

#endif
