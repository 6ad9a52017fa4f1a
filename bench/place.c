/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
/* Where the engine runs things: on which processor, in which process. */
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* As the program was started; children inherit the answer. */
static cpu_set_t given;

static int ask(void)
{
	if (CPU_COUNT(&given) == 0 &&
	    sched_getaffinity(0, sizeof(given), &given) < 0)
		return -errno;
	return 0;
}

unsigned int bench_cpus(void)
{
	return ask() == 0 ? (unsigned int)CPU_COUNT(&given) : 1;
}

int bench_pin_thread(int tid, unsigned int nth)
{
	int err = ask(), left;
	cpu_set_t one;

	if (err < 0)
		return err;
	left = (int)(nth % (unsigned int)CPU_COUNT(&given));
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &given) && left-- == 0)
			CPU_SET(cpu, &one);
	return sched_setaffinity(tid, sizeof(one), &one) < 0 ? -errno : 0;
}

int bench_pin(unsigned int nth)
{
	return bench_pin_thread(0, nth);
}

int bench_unpin(void)
{
	int err = ask();

	if (err < 0)
		return err;
	return sched_setaffinity(0, sizeof(given), &given) < 0 ? -errno : 0;
}

struct answer {
	double value;
	int err;
};

int bench_in_child(int (*fn)(void *arg, double *ret_value), void *arg,
		   double *ret_value)
{
	struct answer *answer = mmap(NULL, sizeof(*answer),
				     PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int err = 0, status;
	pid_t pid;

	if (answer == MAP_FAILED)
		return -errno;
	answer->err = -ECHILD;		/* until the child says otherwise */
	pid = fork();
	if (pid == 0) {
		double value = 0;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		err = fn(arg, &value);
		answer->value = value;
		answer->err = err;
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		err = -errno;
	else
		err = answer->err;
	if (err == 0)
		*ret_value = answer->value;
	munmap(answer, sizeof(*answer));
	return err;
}
