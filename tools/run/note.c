/* SPDX-License-Identifier: MIT */
/*
 * bezoar run --note: how a service of systemd has ended, by what ExecStopPost= is
 * told (systemd.exec(5)) and by what the daemon's store has of the service's control
 * group, in which this process is, too. It never fails: the service has ended anyway.
 */
#include <bezoar/bezoar.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bezoard/judge.h"
#include "../tool.h"
#include "evidence.h"
#include "run.h"
#include "told.h"

/* systemd waits 90 seconds for the end of a service, if it is told nothing else. */
#define ENDS_NS	(100 * 1000000000ull)

/* As systemd has them, without "SIG"; of those that it has no name for, the number. */
static int signal_of(const char *name)
{
	int sig;

	for (sig = 1; sig < NSIG; sig++) {
		const char *abbrev = sigabbrev_np(sig);

		if (abbrev && !strcmp(abbrev, name))
			return sig;
	}
	return atoi(name);
}

static int ending_of(struct ending *e)
{
	const char *code = getenv("EXIT_CODE"), *status = getenv("EXIT_STATUS");

	if (!code || !status)
		return -1;
	e->code = !strcmp(code, "exited") ? CLD_EXITED : CLD_KILLED;
	e->status = e->code == CLD_EXITED ? atoi(status) : signal_of(status);
	return 0;
}

/* This process's: that of the service, but for a part of it that is for processes
 * like this one. */
static int own_group(char *ret, size_t room)
{
	char *end;

	if (judge_cgroup("self", ret, room))
		return -1;
	end = strrchr(ret, '/');
	if (!strcmp(end, "/.control") || !strcmp(end, "/control"))
		*end = '\0';
	/* at the root all would be ours */
	return ret[0] && ret[1] ? 0 : -1;
}

static void latched(struct keep *k, const struct death *d, const char *shown)
{
	char where[1024], text[TEXT_ROOM];
	enum latch latch = keep_add(k, d);

	keep_describe(d, where, sizeof(where));
	tool_say("%s has died of lost memory: %s", shown, where);
	if (!latch)
		return;
	keep_say_latched(k, text, sizeof(text));
	tool_say("%s", text);
}

/* Its processes may have had a while to end, after the one that died. */
static int found(const struct run_wishes *w, struct keep *k,
		 const struct ending *e, struct death *ret_death)
{
	uint64_t since = keep_wall_ns() - ENDS_NS;
	char group[ITEM_CGROUP];
	struct bez_record r;

	if (own_group(group, sizeof(group)) ||
	    !told_of_group(w->store, group, since, &k->state.deaths, e,
			   ended_like(e, SIGBUS), &k->state.looked, &r))
		return 0;
	keep_death(ret_death, r.pid, evidence_is_shutdown(&r) ?
		   BY_SHUTDOWN : BY_RECORD);
	ret_death->start_ticks = r.start_ticks;
	keep_record(ret_death, &r);
	return 1;
}

int run_note(const struct run_wishes *w)
{
	struct keep k = { .name = w->name, .store = w->store,
			  .limits = w->limits, .where = w->state };
	char shown[ESCAPED(NAME_MOST)];
	uint64_t looked;
	struct ending e;
	struct death d;

	escape(shown, w->name, NAME_MOST);
	if (ending_of(&e)) {
		/* it has not even begun: latched, perhaps */
		if (getenv("SERVICE_RESULT"))
			return TOOL_OK;
		tool_say("EXIT_CODE and EXIT_STATUS are not set: --note is for "
			 "ExecStopPost= of a unit, see bezoar unit");
		return RUN_FAILED;
	}
	k.folder = run_folder(w->state, 1);
	if (k.folder < 0)
		return TOOL_OK;
	if (keep_load(&k)) {
		tool_say("%s: what is remembered of it cannot be read", shown);
		close(k.folder);
		return TOOL_OK;
	}
	looked = k.state.looked;
	if (found(w, &k, &e, &d)) {
		told_place(w->store, &d);
		latched(&k, &d, shown);
	} else {
		if (looked != k.state.looked)
			keep_looked(&k);
		if (ended_by(&e, SIGBUS))
			tool_say("%s has died of SIGBUS, and not of lost memory "
				 "as far as anybody knows", shown);
	}
	close(k.folder);
	return TOOL_OK;
}
