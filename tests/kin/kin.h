/* SPDX-License-Identifier: MIT */
/* What the tests of bezoard share: the daemon, who sends to it, its store. */
#ifndef BEZOAR_TESTS_KIN_H
#define BEZOAR_TESTS_KIN_H

#include <bezoar/record.h>
#include <stddef.h>
#include <sys/types.h>

#include "tap.h"

struct kin {
	pid_t pid;		/* of the daemon; 0: it does not run */
	char folder[64];	/* all of it is in there */
	char socket[96], store[96], said[96];
};

/* A folder of its own, in /tmp; with it gone all is gone. */
void kin_make(struct kin *k);
/* Run the daemon with these words besides, up to NULL, until it listens. It does not
 * read this machine's own log of the kernel. */
void kin_start(struct kin *k, ...) __attribute__((sentinel));
/* The same, but it is to end by itself, with this status. */
void kin_refuses(struct kin *k, int status, ...) __attribute__((sentinel));
/* SIGTERM; it has to end well. */
void kin_stop(struct kin *k);
void kin_kill(struct kin *k);
/* Stop it if it runs, and take the folder away. */
void kin_end(struct kin *k);

/* Does a process wait in the system call @nr? Skips the case where that cannot be seen. */
int kin_waits_in(pid_t pid, long nr);

/* Has the daemon said that, up to now? */
int kin_has_said(const struct kin *k, const char *words);
/* It will. */
void kin_will_say(const struct kin *k, const char *words);

/* Connected; -1: nobody listens. */
int kin_connect(const struct kin *k);
/* Number @id of this process, whole, with its digest. */
struct bez_record kin_record(uint64_t id);
void kin_close_record(struct bez_record *r);
/* By one packet, without waiting. -1: there was no room. */
int kin_send(int fd, const void *bytes, size_t len);
/* @behind packets of another version, and then this process's last word: that it ends by
 * what it has met. */
void kin_send_last_word(int fd, int behind);
/* Wait until as many digests have come back. Returns the last. */
uint64_t kin_acks(int fd, size_t count);

/* The one number that is the answer to @sql, in the store; -1: there is none. */
long long kin_ask(const struct kin *k, const char *sql);
/* A count of the store; 0 if it is not there. */
long long kin_count(const struct kin *k, const char *name);
/* The same, but a text; "" if there is none. */
void kin_ask_text(const struct kin *k, const char *sql, char ret[512]);
/* Change the store, of a daemon that does not run. */
void kin_change(const struct kin *k, const char *sql);
/* Wait until kin_ask() says that. */
void kin_wait(const struct kin *k, const char *sql, long long n);

#endif
