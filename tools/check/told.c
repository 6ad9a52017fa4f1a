/* SPDX-License-Identifier: MIT */
#include "told.h"

#include "probe.h"

#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

volatile struct told told;

static sigjmp_buf way_out;
static volatile sig_atomic_t touching;

static void on_sigbus(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	told.code = si->si_code;
	told.addr = si->si_addr;
	told.width_bits = si->si_code == BUS_MCEERR_AR ||
			  si->si_code == BUS_MCEERR_AO ? si->si_addr_lsb : 0;
	told.count++;
	if (touching)
		siglongjmp(way_out, 1);
}

void told_begin(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_NODEFER };

	sa.sa_sigaction = on_sigbus;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGBUS, &sa, NULL);
}

int told_load(const volatile unsigned char *at)
{
	if (sigsetjmp(way_out, 1)) {
		touching = 0;
		return 1;
	}
	touching = 1;
	(void)*at;
	touching = 0;
	return 0;
}

int told_store(volatile unsigned char *at, unsigned char value)
{
	if (sigsetjmp(way_out, 1)) {
		touching = 0;
		return 1;
	}
	touching = 1;
	*at = value;
	touching = 0;
	return 0;
}

void told_expect(const volatile void *at)
{
	int bits = __builtin_ctzl(probe_page());

	EXPECT(told.addr == at, "the signal said %p, and %p was touched",
	       told.addr, (const void *)(uintptr_t)at);
	if (told.code == BUS_ADRERR &&
	    access("/proc/sys/vm/memory_failure_recovery", F_OK))
		probe_broken("the signal had the address, but no width, and "
			     "said BUS_ADRERR: this kernel has no memory "
			     "failure (CONFIG_MEMORY_FAILURE)");
	EXPECT(told.code == BUS_MCEERR_AR, "the signal said code %d, and not "
	       "BUS_MCEERR_AR", told.code);
	EXPECT(told.width_bits == bits, "the signal said 2^%d bytes, and one "
	       "page of 2^%d is lost", told.width_bits, bits);
}
