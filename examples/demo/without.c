/* SPDX-License-Identifier: MIT */
#include "without.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers.h"

#define PATIENCE_S	60	/* far more than the workers need to come by */
#define COULD_NOT	100	/* exit status of the child */

static void child(const struct poison *p, uint64_t seed)
{
	const struct rlimit none = { 0, 0 };
	int r;

	setrlimit(RLIMIT_CORE, &none);
	alarm(PATIENCE_S);
	if (workers_start(p->memory, seed, 0))
		_exit(COULD_NOT);
	r = poison_in_child(p);
	if (r) {
		fprintf(stderr, "demo: cannot lose a page: %s\n",
			strerror(-r));
		_exit(COULD_NOT);
	}
	for (;;)
		pause();
}

int without_bezoar(const struct poison *p, uint64_t seed, int *ret_status)
{
	pid_t pid = fork();

	if (!pid)
		child(p, seed);
	if (pid < 0) {
		fprintf(stderr, "demo: fork: %s\n", strerror(errno));
		return -1;
	}
	while (waitpid(pid, ret_status, 0) < 0) {
		if (errno == EINTR)
			continue;
		fprintf(stderr, "demo: waitpid: %s\n", strerror(errno));
		return -1;
	}
	if (WIFEXITED(*ret_status) && WEXITSTATUS(*ret_status) == COULD_NOT)
		return -1;
	return 0;
}
