/* SPDX-License-Identifier: MIT */
/*
 * Private to record/: the connection to the daemon that keeps records, bezoard(8),
 * and what comes after it.
 *
 *	a record	the connection (full, gone)
 *			the program's file (none, full)
 *			a line on standard error (none, full, or there is the
 *			program's text anyhow)
 *			counted
 *
 * The connection keeps its number from bez_start() on, connected or not: the worker
 * puts another one in its place by one dup3(2), so nobody has to be waited for who
 * sends just then. Nobody reads from it: it is shut for that, and then the daemon
 * knows that it has nobody to tell. Who waits for an answer, at the end, makes a
 * connection of its own.
 *
 * A child of fork(2) has its parent's connection, by which it speaks, and a line, which is
 * one of its own: the daemon knows by it who lives, and so how he ends. Only what the other
 * does not take is sent there, so that nothing is lost where it is closed, as lines are first
 * when there are too many connections.
 */
#ifndef BEZOAR_RECORD_DAEMON_H
#define BEZOAR_RECORD_DAEMON_H

#include <bezoar/record.h>

#include <stdint.h>
#include <sys/un.h>

#include "core/mm.h"
#include "record/sink.h"

/* What prctl(2) says of the calling thread. */
struct bz_sandbox {
	int32_t seccomp;		/* PR_GET_SECCOMP: the mode */
	int32_t no_new_privs;		/* PR_GET_NO_NEW_PRIVS */
};

struct bz_daemon {
	struct bz_sink sink;		/* NONE: no socket could be made */
	struct sockaddr_un to;
	uint32_t to_bytes;		/* 0: none is wanted */
	uint32_t uid;			/* ours, effective, at bez_start() */
	struct bz_sandbox sandbox;	/* likewise */
	uint32_t filters;		/* likewise; 0 before Linux 5.9 */
	struct bz_sink line;		/* of a child of fork(2) */
};

/* How the program's standard error is written to without waiting. */
enum bz_say_how {
	BZ_SAY_NOT = 0,			/* there is none, or nobody wants it */
	BZ_SAY_APPEND = 1,		/* a file that only grows: as the program does */
	BZ_SAY_SEND = 2,		/* a socket */
	BZ_SAY_OPEN = 3			/* a pipe, a terminal: opened anew for each
					 * line, as one that is kept open would keep
					 * who reads it waiting for its end */
};

struct bz_say {
	uint32_t how;
	struct bz_file_id id;		/* what it was at bez_start() */
};

/* The two records of a shutdown. Written by the thread that shuts down. */
struct bz_last {
	struct bz_sink sink;		/* a connection of its own, to be read, too */
	uint32_t begun_safe;		/* the daemon has said that it has the first,
					 * or it is in the program's file */
	uint64_t until;			/* bz_now_ns(): the shutdown's time ends */
	uint64_t begun_ns, end_ns;	/* how long an answer to each is waited for,
					 * where there is a file. Normal context */
	struct bez_record begun;	/* the first */
};

/* Where a record went. */
enum bz_way {
	BZ_WAY_NONE = 0,
	BZ_WAY_SENT = 1,
	BZ_WAY_WRITTEN = 2
};

/* ---- record/daemon.c; normal context */

/* A path, or @ and a name that is in no file system. 0, -EINVAL: it is neither,
 * or -ENAMETOOLONG; then nothing was touched. */
int bz_address(const char *name, struct sockaddr_un *ret_to,
	       uint32_t *ret_bytes);

/* @path as in bez_options.kin_socket. 0, or what bz_address() says of it. That
 * nobody listens is no error. No handler runs. */
int bz_daemon_open(struct bz_mm *mm, struct bz_daemon *d, const char *path);
void bz_daemon_close(struct bz_daemon *d);

/* In a child of fork(2), where nobody else runs yet: its line. Where there can be none
 * its end is not known, and nothing else is different. */
void bz_daemon_forked(struct bz_mm *mm, struct bz_daemon *d);

/* What standard error is. @files: one that only grows will do, too. */
void bz_say_open(struct bz_say *say, int files);

/* ---- handler-safe; nobody waits, but bz_last_ended() */

/*
 * Has the program shut itself in since bez_start()? Its filter may kill who calls
 * socket(2), which the program itself does not do any more. A second filter on one
 * that was there is told only if that one was made by who may gain privileges.
 */
struct bz_sandbox bz_sandbox_now(void);
int bz_daemon_forbidden(const struct bz_daemon *d);

/* A socket that is ours alone, not connected. 0, or what the kernel said. */
int bz_daemon_socket(struct bz_sink *ret_sink);
/* Connect it. 0, or what connect(2) said at once; -EPERM: it is a stranger who
 * listens, and the connection is shut. */
int bz_daemon_dial(const struct bz_daemon *d, const struct bz_sink *sink);

/* 0: it is in the daemon's queue. Else why not; if there is no connection the
 * worker is asked for one, once in a while. @now: bz_now_ns(). */
int bz_daemon_put(struct bz_mm *mm, const struct bez_record *r, uint64_t now);
/* Of what that says: nobody is there. */
int bz_daemon_is_gone(int err);

/* Is standard error open as who says something that way has it? record/say_sig.c */
int bz_say_may(enum bz_say_how how);
/* One line. 0, or why not. */
int bz_say(struct bz_mm *mm, struct bz_walk *w, const struct bz_say *say,
	   const char *text, uint32_t len);

/* Of a process that is about to die, and the daemon that it knew did not take it, as it
 * has gone: by a connection of its own, to who is there now. 1: it took it. */
int bz_last_word(struct bz_mm *mm, struct bz_walk *w, const struct bez_record *r);

/*
 * The two records of a shutdown; record/last_sig.c. What the daemon does not say
 * within a moment that it has is written to the program's file. Where there is none,
 * the end waits for it until the shutdown's time is over.
 */
enum bz_way bz_last_begun(struct bz_mm *mm, struct bz_walk *w,
			  const struct bez_record *r, uint64_t now);
enum bz_way bz_last_ended(struct bz_mm *mm, struct bz_walk *w,
			  const struct bez_record *r, uint64_t now);

#endif
