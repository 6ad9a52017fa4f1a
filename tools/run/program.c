/* SPDX-License-Identifier: MIT */
/* The supervisor: one process that sleeps until its child ends, a signal is to be
 * passed on, or a record comes. */
#include <bezoar/bezoar.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tool.h"
#include "child.h"
#include "evidence.h"
#include "hear.h"
#include "own.h"
#include "run.h"
#include "told.h"

#define EVENT_SIGNAL	0
#define EVENTS		16
#define SWEEP_SECONDS	5

struct run {
	const struct run_wishes *w;
	struct keep keep;
	struct child_before before;
	struct hear hear;
	struct pass pass;
	int epoll, signals, own;
	int alive;			/* the program */
	int ending;			/* it was asked to: SIGTERM */
	int asked;			/* signal that was to end this one, while there
					 * was no program */
	int real;			/* what this kernel can tell */
	pid_t pid;
	uint64_t start_ticks, began_ns, ended_ns, file_from;
	char shown[ESCAPED(NAME_MOST)];
	char text[TEXT_ROOM];		/* why it ends; "": it just does */
};

static struct run run = { .hear = { .listener = -1, .place.lock = -1 },
			  .pass = { .fd = -1, .file = -1 }, .own = -1 };

/* 0, or an exit status: said. */
static int remember(struct run *r)
{
	char shown[ESCAPED(NAME_MOST)];
	pid_t lives = 0;
	int e;

	r->keep.folder = run_folder(r->w->state, 1);
	if (r->keep.folder < 0)
		return r->w->state ? RUN_FAILED : 0;
	escape(shown, r->w->name, NAME_MOST);
	r->own = own_take(r->keep.folder, r->w->name, &lives);
	if (r->own == -EWOULDBLOCK) {
		tool_say("another bezoar run has the name %s; --name gives "
			 "this one its own", shown);
		return RUN_FAILED;
	}
	if (r->own == -EEXIST) {
		tool_say("process %d, which a bezoar run of %s had started that "
			 "was killed, still runs: end it (kill %d), or --name "
			 "gives this one its own", lives, shown, lives);
		return RUN_FAILED;
	}
	e = r->own < 0 ? r->own : keep_load(&r->keep);
	if (e == -EPROTO) {
		tool_say("what is remembered of %s is of a newer version: it "
			 "was not touched. Use that version's bezoar", shown);
		return RUN_FAILED;
	}
	if (e)
		tool_say("%s: %s. Its deaths are remembered only as long as "
			 "this program runs", shown, strerror(-e));
	return 0;
}

static int begin(struct run *r)
{
	struct epoll_event event = { .events = EPOLLIN,
				     .data.u32 = EVENT_SIGNAL };
	int e;

	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	r->before.own = r->own;
	r->signals = child_prepare(&r->before);
	if (r->epoll < 0 || r->signals < 0 ||
	    epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->signals, &event)) {
		tool_say("%s", strerror(r->signals < 0 ? -r->signals : errno));
		return RUN_FAILED;
	}
	r->real = evidence_kernel_is_real();
	r->pass.socket = r->w->socket;
	r->pass.folder = r->keep.folder;
	r->pass.name = r->w->name;
	place_tidy();
	e = hear_open(&r->hear, r->epoll, &r->pass);
	if (e)
		tool_say("no socket for records could be made: %s. Of lost "
			 "memory only the kernel will tell", strerror(-e));
	return 0;
}

static int is_fatal(int sig)
{
	return sig == SIGTERM || sig == SIGINT || sig == SIGQUIT ||
	       sig == SIGHUP;
}

/* @is_new: the program may not have been there when a terminal sent them: so once
 * too often rather than not at all. */
static void on_signals(struct run *r, int is_new)
{
	struct signalfd_siginfo info;
	int sig;

	while (read(r->signals, &info, sizeof(info)) == sizeof(info)) {
		sig = (int)info.ssi_signo;
		if (!r->alive) {
			r->asked = is_fatal(sig) ? sig : r->asked;
			continue;
		}
		r->ending |= sig == SIGTERM;
		if (is_new && is_fatal(sig))
			kill(r->pid, sig);
		else
			child_pass(r->pid, &info);
	}
}

static void look(void *arg)
{
	hear_come(arg);
}

/* Until the child has ended. It is there until it is waited for: its number is no
 * other's, and it can be looked up. */
static void serve(struct run *r, struct ending *ret_ending)
{
	struct epoll_event events[EVENTS];
	siginfo_t info;
	int i, n;

	while (!child_ended(r->pid, look, &r->hear, &info)) {
		n = epoll_wait(r->epoll, events, EVENTS, -1);
		for (i = 0; i < n; i++) {
			if (events[i].data.u32 == EVENT_SIGNAL)
				on_signals(r, 0);
			else
				hear_turn(&r->hear, events[i].data.u32);
		}
	}
	r->alive = 0;
	r->ended_ns = keep_wall_ns();
	hear_all(&r->hear);
	ret_ending->code = info.si_code;
	ret_ending->status = info.si_status;
}

/* ---------------------------------------------------------- what it has died of */

/*
 * Its last record, or, where it ends as if a child of its had (shells exit so,
 * timeout(1) and unshare(1) send it to themselves), that of whoever it was. What it has
 * outlived is no reason. *@ret_room is room for one.
 */
static const struct bez_record *last_of(struct run *r, const struct ending *e,
					struct bez_record *ret_room)
{
	const struct bez_record *last = hear_last(&r->hear, r->pid);
	uint8_t boot_id[16];

	keep_boot_id(boot_id);
	if (!last && r->w->record &&
	    evidence_in_file(r->w->record, r->file_from, r->pid,
			     r->start_ticks, boot_id, ret_room))
		last = ret_room;
	if (!ended_like(e, SIGBUS))
		return last;
	/* with it each SIGBUS of its own has a record; it may take long to write a
	 * core, or to come to an orderly end */
	if (last && (ended_by(e, SIGBUS) || evidence_is_shutdown(last) ||
		     hear_is_recent(last)))
		return last;
	return hear_last_ended(&r->hear);
}

static int died_of_memory(struct run *r, const struct ending *e,
			  const struct bez_record *last, struct death *d)
{
	if (evidence_says(e, last, r->real)) {
		keep_death(d, r->pid, evidence_is_shutdown(last) ?
				      BY_SHUTDOWN : BY_RECORD);
		keep_record(d, last);
	} else {
		uint64_t since = r->ended_ns - HEAR_JUST_NS;

		/* SIGKILL: where it could not take the page away (Linux 6.1) */
		keep_death(d, r->pid, BY_KERNEL);
		if (last || !(ended_by(e, SIGBUS) || ended_by(e, SIGKILL)) ||
		    !told_killed(r->w->store, since < r->began_ns ?
				 r->began_ns : since, e->status, d))
			return 0;
	}
	d->start_ticks = r->start_ticks;
	told_place(r->w->store, d);
	return 1;
}

static void say_ordinary(struct run *r, const struct bez_record *last)
{
	char why[128] = "a file that was cut while it was mapped does that, or "
			"a misaligned access";

	if (last)
		snprintf(why, sizeof(why), "its record says: %s (C%u)",
			 bez_cause_name((enum bez_cause)last->cause),
			 last->cause);
	run_say(r->text, "%s (process %d) has died of SIGBUS, and not of lost "
		"memory as far as anybody knows: %s. It is not restarted",
		r->shown, r->pid, why);
}

/* -1: again. Else the exit status. */
static int after(struct run *r, const struct ending *e)
{
	const struct bez_record *last;
	char where[1024], latched[TEXT_ROOM / 2];
	struct bez_record room;
	unsigned int count;
	struct death d;

	last = last_of(r, e, &room);
	if (!died_of_memory(r, e, last, &d)) {
		if (ended_like(e, SIGBUS))
			say_ordinary(r, last);
		return ended_status(e);
	}
	keep_describe(&d, where, sizeof(where));
	count = latch_count(&r->keep.state.deaths, &d,
			    r->keep.limits.within_ns);
	if (keep_add(&r->keep, &d)) {
		keep_say_latched(&r->keep, latched, sizeof(latched));
		run_say(r->text, "%s (process %d) has died of lost memory: %s. "
			"%s", r->shown, r->pid, where, latched);
		return RUN_LATCHED;
	}
	on_signals(r, 0);
	run_say(r->text, "%s (process %d) has died of lost memory: %s. It is "
		"%srestarted: %u of %u within %llu s", r->shown, r->pid, where,
		r->ending || r->asked ? "to end, and not " : "", count,
		r->keep.limits.restarts,
		(unsigned long long)(r->keep.limits.within_ns / 1000000000u));
	return r->ending || r->asked ? ended_status(e) : -1;
}

/* ------------------------------------------------------------------- the course */

static uint64_t size_of(const char *path)
{
	struct stat st;

	return path && !stat(path, &st) ? (uint64_t)st.st_size : 0;
}

/* Once. Returns like after(). */
static int once(struct run *r)
{
	struct ending ending;
	int status;

	r->began_ns = keep_wall_ns();
	r->file_from = size_of(r->w->record);
	r->pid = child_start(&r->before, r->w->words,
			     r->hear.listener < 0 ? NULL : r->hear.place.path,
			     r->w->lives_on);
	if (r->pid < 0) {
		status = -r->pid;
		snprintf(r->text, sizeof(r->text), "%s could not be started",
			 r->shown);
		return status;
	}
	r->start_ticks = child_start_ticks(r->pid);
	r->alive = 1;
	on_signals(r, 1);
	serve(r, &ending);
	status = after(r, &ending);
	own_note(r->own, 0, 0);
	waitpid(r->pid, NULL, 0);
	r->pid = 0;
	return status;
}

/* Whoever is left of the last run would have its ports, files and locks. */
static int course(struct run *r)
{
	int status, left, again = 0;

	for (;;) {
		on_signals(r, 0);
		if (r->asked) {
			run_say(r->text, "%s is not started%s: signal %d has "
				"come", r->shown, again ? " again" : "",
				r->asked);
			return 128 + r->asked;
		}
		*r->text = '\0';
		status = once(r);
		if (status >= 0)
			return status;
		left = child_sweep(&r->before, SWEEP_SECONDS);
		if (left)
			tool_say("%s: %d process%s of the last run %s ended",
				 r->shown, left, left == 1 ? "" : "es",
				 left == 1 ? "was" : "were");
		hear_all(&r->hear);
		hear_forget(&r->hear);
		again = 1;
	}
}

int run_program(const struct run_wishes *w)
{
	struct run *r = &run;
	int status;

	r->w = w;
	/* who hangs and does not read is not to hold up a restart */
	tool_hurries = 1;
	r->keep.name = w->name;
	r->keep.where = w->state;
	r->keep.store = w->store;
	r->keep.limits = w->limits;
	escape(r->shown, w->name, NAME_MOST);
	status = remember(r);
	if (!status && r->keep.state.latch) {
		keep_say_latched(&r->keep, r->text, sizeof(r->text));
		tool_say("%s", r->text);
		status = RUN_LATCHED;
	}
	if (!status)
		status = begin(r);
	if (!status)
		status = course(r);
	if (*r->text)
		run_last_words(w->termination, r->text);
	hear_close(&r->hear);
	pass_close(&r->pass);
	return status;
}
