/* SPDX-License-Identifier: MIT */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../escape.h"
#include "../tool.h"
#include "own.h"

#define NOT_RUN		125	/* as nohup(1), timeout(1) and others have it */
#define NOT_EXECUTABLE	126
#define NOT_FOUND	127
#define FILES		8192

/* Left alone: errors of this process, and what stops and continues it, which acts
 * on the group as a whole where a terminal sends it. */
static const int own_signals[] = {
	SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGSEGV, SIGBUS,
	SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT,
};

/* What is behind the name, which may hold anything: field 3. NULL: there is no such
 * process. */
static char *stat_of(pid_t pid, char *text, size_t room)
{
	char path[40], *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, room - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	at = strrchr(text, ')');
	return at && at[1] ? at + 2 : NULL;
}

/* Number @field, from 4 on. */
static uint64_t stat_field(pid_t pid, int field)
{
	char text[1024], *at = stat_of(pid, text, sizeof(text));
	int i;

	for (i = 3; at && i < field; i++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return at ? strtoull(at, NULL, 10) : 0;
}

uint64_t child_start_ticks(pid_t pid)
{
	return stat_field(pid, 22);
}

pid_t child_parent(pid_t pid)
{
	return (pid_t)stat_field(pid, 4);
}

int child_is_gone(pid_t pid, uint64_t start_ticks)
{
	char text[1024], *state = stat_of(pid, text, sizeof(text));

	if (!state || *state == 'X' || child_start_ticks(pid) != start_ticks)
		return 1;
	/* of a program whose first thread has ended others may run */
	return *state == 'Z' && stat_field(pid, 20) <= 1;
}

/* Its children now, @most of them. Where the kernel does not tell
 * (CONFIG_PROC_CHILDREN) there are none. */
static int children(pid_t *ret, int most)
{
	char path[64];
	int n = 0, pid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "re");
	while (f && n < most && fscanf(f, "%d", &pid) == 1)
		ret[n++] = pid;
	if (f)
		fclose(f);
	return n;
}

/* What is ignored stays so, here and in the child, as nohup(1) wants it. */
static int is_ignored(int sig)
{
	struct sigaction now;

	return !sigaction(sig, NULL, &now) && now.sa_handler == SIG_IGN;
}

/* Each that sends records has a connection here. */
static void more_files(struct child_before *b)
{
	struct rlimit more;

	if (getrlimit(RLIMIT_NOFILE, &b->files))
		b->files.rlim_max = 0;
	more = b->files;
	if (more.rlim_cur < FILES)
		more.rlim_cur = more.rlim_max < FILES ? more.rlim_max : FILES;
	if (more.rlim_max)
		setrlimit(RLIMIT_NOFILE, &more);
}

int child_prepare(struct child_before *b)
{
	struct sigaction usual = { .sa_handler = SIG_DFL };
	size_t i;
	int sig, fd;

	/* one that is ignored would take the children's statuses away */
	sigaction(SIGCHLD, &usual, &b->chld);
	sigfillset(&b->taken);
	for (i = 0; i < sizeof(own_signals) / sizeof(own_signals[0]); i++)
		sigdelset(&b->taken, own_signals[i]);
	/* SIGPIPE: errors of write(2) are read here */
	for (sig = 1; sig <= SIGRTMAX; sig++)
		if (sig != SIGPIPE && is_ignored(sig))
			sigdelset(&b->taken, sig);
	if (sigprocmask(SIG_BLOCK, &b->taken, &b->mask))
		return -errno;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	more_files(b);
	b->count = children(b->had, sizeof(b->had) / sizeof(b->had[0]));
	fd = signalfd(-1, &b->taken, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* ---------------------------------------------------------------- the child's */

/* What names this process as who descriptors were handed over to, or who a watchdog
 * waits for, is meant for the program. */
static void rename_in(const char *variable, pid_t parent)
{
	const char *was = getenv(variable);
	char text[16];

	snprintf(text, sizeof(text), "%d", parent);
	if (!was || strcmp(was, text))
		return;
	snprintf(text, sizeof(text), "%d", getpid());
	setenv(variable, text, 1);
}

static void begin(const struct child_before *b, char **words,
		  const char *socket, int lives_on, pid_t parent)
{
	if (!lives_on) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(NOT_RUN);
	}
	/* by itself: its parent may be killed at any moment, and it lives on */
	own_note(b->own, getpid(), child_start_ticks(getpid()));
	rename_in("LISTEN_PID", parent);
	rename_in("WATCHDOG_PID", parent);
	if (socket)
		setenv("BEZOAR_SOCKET", socket, 1);
	if (b->files.rlim_max)
		setrlimit(RLIMIT_NOFILE, &b->files);
	sigaction(SIGCHLD, &b->chld, NULL);
	sigprocmask(SIG_SETMASK, &b->mask, NULL);
	execvp(words[0], words);
}

pid_t child_start(const struct child_before *b, char **words,
		  const char *socket, int lives_on)
{
	char shown[ESCAPED(256)];
	pid_t parent = getpid(), pid;
	int ends[2], err = 0;
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC)) {
		tool_say("pipe: %s", strerror(errno));
		return -NOT_RUN;
	}
	pid = fork();
	if (!pid) {
		begin(b, words, socket, lives_on, parent);
		err = errno;
		n = write(ends[1], &err, sizeof(err));
		_exit(n == sizeof(err) ? NOT_RUN : NOT_FOUND);
	}
	err = pid < 0 ? errno : 0;
	close(ends[1]);
	/* closed without a word: it is the program now */
	while (pid > 0 && (n = read(ends[0], &err, sizeof(err))) < 0 &&
	       errno == EINTR)
		continue;
	close(ends[0]);
	if (!err)
		return pid;
	if (pid > 0)
		waitpid(pid, NULL, 0);
	tool_say("%s: %s", escape(shown, words[0], 256), strerror(err));
	return -(pid < 0 ? NOT_RUN : err == ENOENT ? NOT_FOUND :
						     NOT_EXECUTABLE);
}

/* ------------------------------------------------------------------- signals */

void child_pass(pid_t pid, const struct signalfd_siginfo *info)
{
	int sig = (int)info->ssi_signo;

	if (sig == SIGCHLD || (info->ssi_code <= 0 &&
			       info->ssi_pid == (uint32_t)getpid()))
		return;
	/* by the kernel: to the group of a terminal; but that a terminal is gone,
	 * to the leader of its session alone */
	if (info->ssi_code > 0 && (sig != SIGHUP || getsid(0) != getpid()))
		return;
	kill(pid, sig);
}

int child_ended(pid_t pid, void (*look)(void *), void *arg, siginfo_t *ret_info)
{
	for (;;) {
		memset(ret_info, 0, sizeof(*ret_info));
		if (waitid(P_ALL, 0, ret_info, WEXITED | WNOHANG | WNOWAIT) ||
		    !ret_info->si_pid)
			return 0;
		if (ret_info->si_pid == pid)
			return 1;
		if (look)
			look(arg);
		waitpid(ret_info->si_pid, NULL, WNOHANG);
	}
}

/* -------------------------------------------------------------- what is left */

static int was_there(const struct child_before *b, pid_t pid)
{
	int i;

	for (i = 0; i < b->count; i++)
		if (b->had[i] == pid)
			return 1;
	return 0;
}

/* Each that has ended is waited for. Returns how many are left. */
static int signal_rest(const struct child_before *b, int sig)
{
	pid_t pid[64];
	siginfo_t info;
	int i, n, left = 0;

	child_ended(0, NULL, NULL, &info);
	n = children(pid, sizeof(pid) / sizeof(pid[0]));
	for (i = 0; i < n; i++) {
		if (was_there(b, pid[i]))
			continue;
		left++;
		if (sig)
			kill(pid[i], sig);
	}
	return left;
}

int child_sweep(const struct child_before *b, unsigned int seconds)
{
	struct timespec patience = { 0, 100000000 };
	int count = signal_rest(b, SIGTERM), left = count;
	unsigned int tenths;
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	/* whose parent ends meanwhile comes to us, and is new */
	for (tenths = 0; left && tenths < seconds * 10; tenths++) {
		sigtimedwait(&chld, NULL, &patience);
		left = signal_rest(b, tenths ? 0 : SIGTERM);
	}
	for (tenths = 0; left && tenths < 100; tenths++) {
		left = signal_rest(b, SIGKILL);
		if (left)
			sigtimedwait(&chld, NULL, &patience);
	}
	return count;
}
