/* SPDX-License-Identifier: MIT */
#include "listening.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

char daemon_name[64];
int listener = -1, peer = -1;

void listen_there(void)
{
	struct sockaddr_un to;
	uint32_t bytes;

	if (!daemon_name[0])
		snprintf(daemon_name, sizeof(daemon_name), "@bezoar-unit-%d",
			 getpid());
	CHECK_EQ(bz_address(daemon_name, &to, &bytes), 0);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK(listener >= 0);
	CHECK_EQ(bind(listener, (struct sockaddr *)&to, bytes), 0);
	CHECK_EQ(listen(listener, 8), 0);
}

void stranger_listens(void)
{
	if (geteuid())
		tap_skip("only root can be somebody else");
	CHECK_EQ(seteuid(65534), 0);
	listen_there();
	CHECK_EQ(seteuid(0), 0);
}

void shut_in(int kills_it)
{
	static struct sock_filter kills[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	static struct sock_fprog filter = { sizeof(kills) / sizeof(kills[0]),
					    kills };

	/* only its last instruction, that allows all */
	if (!kills_it)
		filter = (struct sock_fprog){ 1, &kills[4] };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		tap_skip("no seccomp filter here: %s", strerror(errno));
}

void take_in(void)
{
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	CHECK(peer >= 0);
}

void goes_away(void)
{
	close(listener);
	if (peer >= 0)
		close(peer);
	listener = peer = -1;
}

void open_house(int fd, uint32_t rate)
{
	struct bez_options o = BEZ_OPTIONS_INIT;

	mm = unit_mm();
	atomic_store(&mm->walk[0].owner, (uint32_t)getpid());
	o.record_fd = fd;
	o.record_rate = rate;
	o.kin_socket = daemon_name;
	CHECK_EQ(bz_record_open(mm, &o), 0);
}
