/* SPDX-License-Identifier: MIT */
/*
 * A program that ends in a way that is to be told from others.
 *
 *	victim record FRAME CAUSE OUTCOME END	send a record, be acknowledged, end
 *	victim forged PID END			the same, in another's name
 *	victim file PATH FRAME CAUSE OUTCOME END	append it to a file
 *	victim inject alone|protected|exits|kin	lose a page, and touch it; kin: its
 *						records go by BEZOAR_SOCKET
 *	victim truncated FILE			touch what a file has lost
 *	victim says SIGNAL...			say "up", and each of these that comes
 *	victim runs PROGRAM WORD...		become that
 *	victim threads PROGRAM WORD...		have a thread wait for that, and no other
 *						be left
 *	victim apart ...			in a process group of its own
 *	victim becomes USER ...			another user, for good
 *	victim orphan ...			without a parent; says its number
 *	victim forks ...			a child does it; then exit 135, like a
 *						shell, with that not waited for
 *
 * FRAME: 0: none. END: bus, exit:N, or another command.
 */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <bezoar/inject.h>
#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "victim: %s: %s\n", what, strerror(errno));
	exit(99);
}

static int reach(void)
{
	const char *path = getenv("BEZOAR_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (!path || strlen(path) >= sizeof(to.sun_path))
		die("BEZOAR_SOCKET");
	strcpy(to.sun_path, path);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die(path);
	return fd;
}

static void text_of(const char *path, char *ret, size_t room)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, ret, room - 1);

	ret[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

static uint64_t start_ticks(void)
{
	char text[1024], *at;
	int i;

	text_of("/proc/self/stat", text, sizeof(text));
	at = strrchr(text, ')');
	for (i = 2; at && i < 22; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

static void boot_id(uint8_t ret[16])
{
	char text[64], pair[3] = "";
	size_t at = 0, i;

	text_of("/proc/sys/kernel/random/boot_id", text, sizeof(text));
	for (i = 0; i < 16 && text[at]; i++, at += 2) {
		at += text[at] == '-';
		memcpy(pair, text + at, 2);
		ret[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
}

static void cgroup(char ret[128])
{
	char text[4096], *line;

	text_of("/proc/self/cgroup", text, sizeof(text));
	line = strncmp(text, "0::", 3) ? strstr(text, "\n0::") : text;
	line = line ? strchr(line, '/') : NULL;
	if (line)
		strncpy(ret, strtok(line, "\n"), 127);
}

static struct bez_record make(int pid, const char *frame, const char *cause,
			      const char *outcome)
{
	static uint64_t id;
	struct timespec now;
	struct bez_record r;

	memset(&r, 0, sizeof(r));
	clock_gettime(CLOCK_REALTIME, &now);
	memcpy(r.magic, BEZ_RECORD_MAGIC, sizeof(r.magic));
	r.version = BEZ_RECORD_VERSION;
	r.bytes = sizeof(r);
	r.id = ++id;
	r.wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	clock_gettime(CLOCK_BOOTTIME, &now);
	r.boot_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (getenv("VICTIM_AGO"))
		r.boot_ns -= strtoull(getenv("VICTIM_AGO"), NULL, 10) * 1000000000u;
	r.pid = r.tid = pid;
	r.start_ticks = start_ticks();
	boot_id(r.boot_id);
	/* as another may say, too */
	if (getenv("VICTIM_CGROUP"))
		strncpy(r.cgroup, getenv("VICTIM_CGROUP"), 127);
	else
		cgroup(r.cgroup);
	r.addr = 0x7f0000001000;
	r.width = 4096;
	r.region = 1;
	r.frame = strtoull(frame, NULL, 0);
	r.flags = r.frame ? BEZ_RECORD_HAS_FRAME : 0;
	r.cause = (uint16_t)atoi(cause);
	r.outcome = (uint16_t)atoi(outcome);
	r.action = BEZ_ACTION_DEFAULT;
	strcpy(r.comm, "victim");
	strcpy(r.name, "the \033table");
	r.digest = bez_digest(&r, sizeof(r) - sizeof(r.digest));
	return r;
}

/* The kernel has taken it before send(2) returns; the answer says that it is kept. */
static void send_it(int pid, char **words)
{
	struct bez_record r = make(pid, words[0], words[1], words[2]);
	struct timeval patience = { 20, 0 };
	int fd = reach();
	uint64_t digest = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (send(fd, &r, sizeof(r), MSG_NOSIGNAL) != sizeof(r))
		die("send");
	if (pid == getpid() && !getenv("VICTIM_HURRIES") &&
	    (recv(fd, &digest, 8, 0) != 8 || digest != r.digest))
		die("no acknowledgement");
}

static void put(char **words)
{
	struct bez_record r = make(getpid(), words[1], words[2], words[3]);
	int fd = open(words[0], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (write(fd, &r, sizeof(r)) != sizeof(r))
		die(words[0]);
	close(fd);
}

static void touch(void *at)
{
	(void)*(volatile char *)at;
}

static void *page(size_t bytes)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	memset(at, 7, bytes);
	return at;
}

static void protect(void *at, size_t bytes, const char *how)
{
	int exits = !strcmp(how, "exits");
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	if (strcmp(how, "kin"))
		options.record_fd = reach();
	options.flags = exits ? BEZ_START_SHUTDOWN_EXIT : 0;
	options.shutdown_status = 0;
	policy.name = "the heart";
	policy.actions[0] = exits ? BEZ_ACTION_SHUTDOWN : BEZ_ACTION_REPLACE;
	if (bez_start(&options) || bez_region_add(at, bytes, &policy, &region))
		die("bez_start");
}

static void inject(const char *how)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *at = page(bytes);
	bez_inject_t token;
	int r;

	if (strcmp(how, "alone"))
		protect(at, bytes, how);
	r = bez_inject(at, bytes, BEZ_INJECT_AUTO, 0, &token);
	if (r) {
		errno = -r;
		die("bez_inject");
	}
	touch(at);
}

static void truncated(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *at;

	if (fd < 0 || ftruncate(fd, 8192))
		die(path);
	at = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED || ftruncate(fd, 0))
		die(path);
	touch(at + 4096);
}

/* In the handler: two that come soon after one another are two. */
static void on_signal(int sig)
{
	char text[] = { (char)('0' + sig / 10), (char)('0' + sig % 10), '\n' };

	if (write(1, text, sizeof(text)) < 0)
		_exit(97);
}

static void says(char **words)
{
	struct sigaction action = { .sa_handler = on_signal };

	/* one after the other, as they came */
	sigfillset(&action.sa_mask);
	for (; *words; words++)
		sigaction(atoi(*words), &action, NULL);
	if (write(1, "up\n", 3) == 3)
		for (;;)
			pause();
}

static void become(const char *user)
{
	unsigned int id = (unsigned int)atoi(user);

	if (setgroups(0, NULL) || setgid(id) || setuid(id))
		die("setuid");
}

/* Nobody but who takes orphans waits for it. */
static void orphan(void)
{
	int ends[2];
	pid_t pid;
	char c;

	if (pipe(ends))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid) {
		printf("%d\n", pid);
		fflush(stdout);
		_exit(0);
	}
	close(ends[1]);
	if (read(ends[0], &c, 1))
		die("read");
}

/* Its child is a zombie when it ends, and then somebody else's to wait for. */
static void wait_like_a_shell(pid_t child)
{
	siginfo_t info;

	if (child < 0 || waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT))
		die("fork");
	_exit(135);
}

static void *waits_for(void *words)
{
	char **word = words;
	pid_t pid = fork();

	if (!pid) {
		execvp(word[0], word);
		die(word[0]);
	}
	waitpid(pid, NULL, 0);
	_exit(0);
}

static void leave_to_a_thread(char **words)
{
	pthread_t t;

	printf("%d\n", getpid());
	fflush(stdout);
	if (pthread_create(&t, NULL, waits_for, words))
		die("pthread_create");
	pthread_exit(NULL);
}

static int step(char **words)
{
	pid_t pid;

	if (!words[0])
		return 0;
	if (!strcmp(words[0], "bus"))
		kill(getpid(), SIGBUS);
	if (!strncmp(words[0], "exit:", 5))
		_exit(atoi(words[0] + 5));
	if (!strcmp(words[0], "record")) {
		send_it(getpid(), words + 1);
		return step(words + 4);
	}
	if (!strcmp(words[0], "forged")) {
		static char *poison[] = { (char *)"0", (char *)"1",
					  (char *)"129" };

		send_it(atoi(words[1]), poison);
		return step(words + 2);
	}
	if (!strcmp(words[0], "file")) {
		put(words + 1);
		return step(words + 5);
	}
	if (!strcmp(words[0], "inject"))
		inject(words[1]);
	if (!strcmp(words[0], "becomes")) {
		become(words[1]);
		return step(words + 2);
	}
	if (!strcmp(words[0], "orphan")) {
		orphan();
		return step(words + 1);
	}
	if (!strcmp(words[0], "forks")) {
		pid = fork();
		if (pid)
			wait_like_a_shell(pid);
		return step(words + 1);
	}
	if (!strcmp(words[0], "apart")) {
		setpgid(0, 0);
		return step(words + 1);
	}
	if (!strcmp(words[0], "runs")) {
		execvp(words[1], words + 1);
		die(words[1]);
	}
	if (!strcmp(words[0], "threads"))
		leave_to_a_thread(words + 1);
	if (!strcmp(words[0], "says"))
		says(words + 1);
	if (!strcmp(words[0], "truncated"))
		truncated(words[1]);
	return 98;
}

int main(int argc, char **argv)
{
	(void)argc;
	return step(argv + 1);
}
