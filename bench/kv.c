/* SPDX-License-Identifier: MIT */
/*
 * What does it cost a server that its items may be lost: requests per second of
 * examples/kv against memcached's, each with two threads, under the same load by a
 * client of neither.
 */
#define _GNU_SOURCE
#include "questions.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS	10000000000u	/* for a server to listen */

struct server {
	const char *name;
	pid_t pid;
	int port;
	char load[160];
};

static struct sockaddr_in address(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET };

	to.sin_port = htons((uint16_t)port);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return to;
}

static int free_port(void)
{
	struct sockaddr_in to = address(0);
	socklen_t len = sizeof(to);
	int fd = socket(AF_INET, SOCK_STREAM, 0), port = -1;

	if (fd >= 0 && !bind(fd, (void *)&to, sizeof(to)) &&
	    !getsockname(fd, (void *)&to, &len))
		port = ntohs(to.sin_port);
	close(fd);
	return port;
}

/* Until it takes a connection. */
static int listens(const struct server *s)
{
	const struct sockaddr_in to = address(s->port);
	uint64_t end = bench_now() + PATIENCE_NS;
	int r = -1, fd;

	while (r && bench_now() < end && !waitpid(s->pid, NULL, WNOHANG)) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		r = connect(fd, (const void *)&to, sizeof(to));
		close(fd);
		if (r)
			usleep(1000);
	}
	return r ? -ECONNREFUSED : 0;
}

/* @as_root: memcached's option that says it may be root; NULL: none. */
static int start(struct server *s, const char *path, const char *as_root,
		 const char *client)
{
	char port[16];

	s->port = free_port();
	snprintf(port, sizeof(port), "%d", s->port);
	snprintf(s->load, sizeof(s->load), "%s -s 127.0.0.1:%s -T 1 -c 16 "
		 "-x 40000 2>/dev/null", client, port);
	s->pid = fork();
	if (!s->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
		execlp(path, path, "-l", "127.0.0.1", "-p", port, "-t", "2",
		       "-m", "64", as_root, "root", (char *)NULL);
		_exit(127);
	}
	return s->pid < 0 ? -errno : listens(s);
}

static void stop(struct server *s)
{
	if (s->pid > 0 && !kill(s->pid, SIGTERM))
		waitpid(s->pid, NULL, 0);
}

static int under_load(void *arg, double *samples, size_t n)
{
	const struct server *s = arg;

	for (size_t i = 0; i < n; i++) {
		unsigned long long misses = 1;
		double rate = NAN;
		char line[256], *at;
		FILE *f = popen(s->load, "r");

		while (f && fgets(line, sizeof(line), f)) {
			sscanf(line, "get_misses: %llu", &misses);
			at = strstr(line, "TPS: ");
			if (at)
				rate = strtod(at + 5, NULL);
		}
		if (!f || pclose(f) || isnan(rate) || misses)
			return -EIO;
		samples[i] = rate;
	}
	return 0;
}

static const char *found(const char *const *names)
{
	char line[128];

	for (; *names; names++) {
		snprintf(line, sizeof(line), "command -v %s >/dev/null",
			 *names);
		if (!system(line))
			return *names;
	}
	return NULL;
}

static void serves(bool quick, struct bench_result *result)
{
	static const char *const clients[] = { "memcaslap", "memaslap", NULL };
	static const char *const servers[] = { "memcached", NULL };
	struct server kv = { .name = "examples/kv" };
	struct server memcached = { .name = "memcached" };
	const struct bench_side sides[2] = {
		{ kv.name, under_load, &kv },
		{ memcached.name, under_load, &memcached },
	};
	const char *client = found(clients);
	struct bench_figures figures;
	int err;

	if (!client || !found(servers)) {
		result->ours = result->reference = result->ratio = NAN;
		return bench_say(result, "Not measured: %s is not there: "
				 "install the package %s. ",
				 client ? "memcached" : "memcaslap",
				 client ? "memcached" : "libmemcached-tools");
	}
	/* all three of them use what processors there are */
	err = bench_unpin();
	if (!err)
		err = start(&kv, BENCH_KV, NULL, client);
	if (err)
		bench_cannot(result, "starting " BENCH_KV, err);
	else if ((err = start(&memcached, "memcached",
			       getuid() ? NULL : "-u", client)))
		bench_cannot(result, "starting memcached", err);
	else if (!bench_compare(sides, 2, quick ? 5 : 15, 1, &figures, result))
		bench_say(result, "Requests per second by %s, of 16 connections, "
			  "one in ten a set of 1 KiB; two threads each, and the "
			  "same processors. ", client);
	stop(&kv);
	stop(&memcached);
}

const struct bench_question bench_kv = { "kv", "1/s", 0.8, true, serves };
