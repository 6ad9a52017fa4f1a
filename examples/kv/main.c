/* SPDX-License-Identifier: MIT */
/*
 * kv: a key-value server that speaks memcached's text protocol, and lives on when
 * its memory is lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bezoar/bezoar.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "serve.h"
#include "store.h"

static const char help[] =
"usage: kv [-p PORT] [-l ADDRESS] [-s PATH] [-t THREADS] [-m MIB] [-v]\n"
"\n"
"A key-value server in memory, with memcached's text protocol. If a page of its\n"
"memory is lost, the keys on it are missing; the rest is served on.\n"
"\n"
"  -p PORT      (default: 11211; 0: any that is free, which it says)\n"
"  -l ADDRESS   IPv4 (default: 127.0.0.1)\n"
"  -s PATH      a Unix socket instead\n"
"  -t THREADS   (default: 4)\n"
"  -m MIB       memory for items (default: 64)\n"
"  -v           say on standard error what is lost\n"
"  -h           this text\n";

struct options {
	unsigned long port, threads, mib;
	const char *address, *path;
	int verbose;
};

static unsigned long number(char option, const char *text, unsigned long min,
			    unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < min ||
	    value > max) {
		fprintf(stderr, "kv: -%c wants a number from %lu to %lu, not "
			"'%s'; see kv -h\n", option, min, max, text);
		exit(2);
	}
	return value;
}

static void parse(int argc, char **argv, struct options *o)
{
	int c;

	while ((c = getopt(argc, argv, "p:l:s:t:m:vh")) != -1)
		switch (c) {
		case 'p': o->port = number('p', optarg, 0, 65535); break;
		case 't': o->threads = number('t', optarg, 1, 64); break;
		case 'm': o->mib = number('m', optarg, 1, 1 << 20); break;
		case 'l': o->address = optarg; break;
		case 's': o->path = optarg; break;
		case 'v': o->verbose = 1; break;
		case 'h': fputs(help, stdout); exit(0);
		default: fputs(help, stderr); exit(2);
		}
	if (optind != argc) {
		fputs(help, stderr);
		exit(2);
	}
}

static int open_path(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(to.sun_path, path);
	if (fd < 0 || bind(fd, (void *)&to, sizeof(to)) || listen(fd, 1024))
		return -1;
	return fd;
}

static int open_port(const struct options *o, uint16_t *ret_port)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(to);
	int yes = 1;

	to.sin_port = htons((uint16_t)o->port);
	if (!inet_pton(AF_INET, o->address, &to.sin_addr)) {
		errno = EINVAL;
		return -1;
	}
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) ||
	    bind(fd, (void *)&to, sizeof(to)) || listen(fd, 1024) ||
	    getsockname(fd, (void *)&to, &len))
		return -1;
	*ret_port = ntohs(to.sin_port);
	return fd;
}

static int listen_on(const struct options *o)
{
	uint16_t port = 0;
	int fd = o->path ? open_path(o->path) : open_port(o, &port);

	if (fd < 0 && o->path)
		fprintf(stderr, "kv: cannot listen on %s: %s\n", o->path,
			strerror(errno));
	else if (fd < 0)
		fprintf(stderr, "kv: cannot listen on %s, port %lu: %s\n",
			o->address, o->port, strerror(errno));
	else if (o->path)
		printf("kv: listening on %s\n", o->path);
	else
		printf("kv: listening on %s:%u\n", o->address, port);
	fflush(stdout);
	return fd;
}

/* Until a signal asks for the end. */
static void take_connections(int listening, int signals)
{
	struct pollfd p[2] = { { .fd = signals, .events = POLLIN },
			       { .fd = listening, .events = POLLIN } };
	int fd, patience = -1;

	for (;;) {
		/* with no descriptor left, look again in a while */
		int n = poll(p, patience < 0 ? 2 : 1, patience);

		if (p[0].revents)
			return;
		patience = -1;
		if (n < 0)
			continue;
		fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			serve_add(fd);
		else if (errno == EMFILE || errno == ENFILE ||
			 errno == ENOBUFS || errno == ENOMEM)
			patience = 100;
	}
}

static int begin(const struct options *o)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	int r;

	options.record_text_fd = o->verbose ? STDERR_FILENO : 0;
	r = bez_start(&options);
	if (!r)
		r = store_open(o->mib << 20);
	if (!r)
		r = serve_start((unsigned int)o->threads);
	if (r)
		fprintf(stderr, "kv: cannot start: %s\n", strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	struct options o = { .port = 11211, .threads = 4, .mib = 64,
			     .address = "127.0.0.1" };
	int listening, signals;
	sigset_t ends;

	parse(argc, argv, &o);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	/* before there are threads, which inherit it */
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	signals = signalfd(-1, &ends, SFD_CLOEXEC);
	if (signals < 0 || begin(&o))
		return 1;
	listening = listen_on(&o);
	if (listening < 0)
		return 1;
	take_connections(listening, signals);
	close(listening);
	if (o.path)
		unlink(o.path);
	serve_stop();
	return 0;
}
