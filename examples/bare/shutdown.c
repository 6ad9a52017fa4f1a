/* SPDX-License-Identifier: MIT */
/* Shut down, by hand: record what was lost, tell the next of kin, exit. */
#include "poison.h"
#include <signal.h>
#include <sys/wait.h>

#define EXIT_LOST 70		/* tells the next of kin that a record came */

static struct {
	void *addr;
	size_t width;
	int code;
} lost;
static int kin;			/* the pipe's end for writing */

/* Only async-signal-safe calls; a record this small is written as a whole. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)context;
	lost.addr = info->si_addr;
	lost.code = info->si_code;
	if (info->si_code == BUS_MCEERR_AR)
		lost.width = (size_t)1 << info->si_addr_lsb;
	if (write(kin, &lost, sizeof(lost)) == sizeof(lost))
		_exit(EXIT_LOST);
	signal(sig, SIG_DFL);
}

static int work(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO };
	char *data = mmap(NULL, lost.width, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED || sigaction(SIGBUS, &sa, NULL) < 0)
		return 1;
	memset(data, 'x', lost.width);
	poison(data, lost.width);
	return data[100] == 'x' ? 0 : 1;
}

int main(void)
{
	int end[2], status;

	lost.width = sysconf(_SC_PAGESIZE);	/* where SIGBUS names none */
	if (pipe(end) < 0)
		return perror("pipe"), 1;
	kin = end[1];
	if (fork() == 0)
		return work();
	wait(&status);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_LOST ||
	    read(end[0], &lost, sizeof(lost)) != sizeof(lost))
		return WEXITSTATUS(status) == 77 ? 77 : 1;
	printf("shut down: %zu bytes at %p were lost (SIGBUS code %d)\n",
	       lost.width, lost.addr, lost.code);
	return lost.addr ? 0 : 1;
}
