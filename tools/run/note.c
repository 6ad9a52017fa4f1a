/* SPDX-License-Identifier: MIT */
/*
 * bezoar run --note: how a service of systemd has ended, by what ExecStopPost= is
 * told (systemd.exec(5)) and by what the daemon's store has of the service's control
 * group, in which this process is, too. It never fails: the service has ended anyway.
 */
#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tool.h"
#include "evidence.h"
#include "run.h"
#include "told.h"

static int ending_of(struct ending *e)
{
	const char *code = getenv("EXIT_CODE"), *status = getenv("EXIT_STATUS");

	if (!code || !status)
		return -1;
	e->code = !strcmp(code, "exited") ? CLD_EXITED : CLD_KILLED;
	/* of signals only one is asked for */
	e->status = e->code == CLD_EXITED ? atoi(status) :
		    !strcmp(status, "BUS") ? SIGBUS : SIGKILL;
	return 0;
}

/* This process's, of version 2: that of the service, but for a part of it that is
 * for processes like this one. */
static int own_group(char *ret, size_t room)
{
	int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, room - 1);
	char *line, *end;

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	ret[n] = '\0';
	line = strncmp(ret, "0::", 3) ? strstr(ret, "\n0::") : ret;
	if (!line)
		return -1;
	line = strchr(line, '/');
	if (!line)
		return -1;
	memmove(ret, line, strlen(line) + 1);
	end = strchr(ret, '\n');
	if (end)
		*end = '\0';
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

/* Whose death is known by the number that systemd has for the main process, or by
 * its group. */
static int found(const struct run_wishes *w, struct keep *k,
		 const struct ending *e, struct death *ret_death)
{
	uint64_t now = keep_wall_ns(), since = now - w->limits.within_ns;
	const char *pid = getenv("MAINPID");
	struct bez_record r;
	char group[4096];

	if (!own_group(group, sizeof(group)) &&
	    told_of_group(w->store, group, since, &k->state.deaths,
			  ended_like(e, SIGBUS), &r)) {
		if (!evidence_says(e, &r, evidence_kernel_is_real()))
			return 0;
		keep_death(ret_death, r.pid, evidence_is_shutdown(&r) ?
			   BY_SHUTDOWN : BY_RECORD);
		keep_record(ret_death, &r);
		return 1;
	}
	keep_death(ret_death, pid ? atoi(pid) : 0, BY_KERNEL);
	return ret_death->pid > 0 &&
	       (ended_by(e, SIGBUS) || ended_by(e, SIGKILL)) &&
	       told_killed(w->store, since, ret_death);
}

int run_note(const struct run_wishes *w)
{
	struct keep k = { .name = w->name, .store = w->store,
			  .limits = w->limits };
	char shown[ESCAPED(NAME_MOST)];
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
	if (keep_load(&k))
		tool_say("%s: what is remembered of it cannot be read", shown);
	else if (found(w, &k, &e, &d)) {
		told_place(w->store, &d);
		latched(&k, &d, shown);
	} else if (ended_by(&e, SIGBUS))
		tool_say("%s has died of SIGBUS, and not of lost memory as far "
			 "as anybody knows", shown);
	close(k.folder);
	return TOOL_OK;
}
