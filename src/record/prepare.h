/* SPDX-License-Identifier: MIT */
/* Private to record/: what is known of every record before there is one. */
#ifndef BEZOAR_RECORD_PREPARE_H
#define BEZOAR_RECORD_PREPARE_H

#include <bezoar/record.h>

#include <sys/un.h>

#include "record/clock.h"
#include "record/daemon.h"
#include "record/sink.h"

/* Written in normal context, before the handler is installed and in a child of
 * fork(2) before that runs. What fork(2) wipes is in struct bz_mm. */
struct bz_recorder {
	uint32_t on;			/* somebody wants records, or lines */
	uint32_t rate;			/* most in a second */
	struct bz_daemon daemon;	/* of records; the sink is for what it does
					 * not take, then */
	struct bz_sink sink;		/* of records */
	struct bz_sink text;		/* of lines */
	struct bz_say say;		/* for what neither takes; with a daemon */
	struct bz_sink pagemap;		/* if it tells us page frames */
	struct bz_sink kin;		/* is told of a shutdown */
	struct sockaddr_un notify;	/* likewise; $NOTIFY_SOCKET */
	uint32_t notify_bytes;		/* 0: there is none */
	int32_t notify_pid;		/* the service: who started the library */
	struct bz_clocks clocks;
	struct bez_record prepared;
	struct bz_last last;		/* of a shutdown; not in normal context */
};

extern struct bz_recorder bz_recorder;

/* record/kin_sig.c: say that it was the end. Context: handler-safe. */
void bz_tell_kin(const struct bez_record *r);
void bz_notify(const struct bez_record *r);

#endif
