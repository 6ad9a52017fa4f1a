/* SPDX-License-Identifier: MIT */
/*
 * dies_of_loss PROGRAM: exit 0 only if the program is killed by SIGBUS that
 * the kernel raised for an address. An exit status of 135 is no such death,
 * and neither is a raise(SIGBUS): the signal is looked at on its way. A
 * program that says it was skipped (77) is passed on.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(char **argv)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
		execv(argv[0], argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(1);
}

int main(int argc, char **argv)
{
	int status = 0, by_loss = 0, sig;
	siginfo_t info;
	pid_t pid;

	if (argc < 2)
		return fputs("usage: dies_of_loss PROGRAM\n", stderr), 1;
	pid = fork();
	if (pid == 0)
		run(argv + 1);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		sig = WSTOPSIG(status);
		if (sig == SIGTRAP)
			sig = 0;	/* the stop at execve */
		else if (sig == SIGBUS &&
			 ptrace(PTRACE_GETSIGINFO, pid, NULL, &info) == 0)
			by_loss = info.si_code > 0 && info.si_addr != NULL;
		if (ptrace(PTRACE_CONT, pid, NULL, (long)sig) < 0)
			return perror("ptrace"), 1;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return 77;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS && by_loss) {
		printf("died of SIGBUS (code %d) at %p\n", info.si_code,
		       info.si_addr);
		return 0;
	}
	printf("did not die of a lost page: wait status %#x\n",
	       (unsigned int)status);
	return 1;
}
