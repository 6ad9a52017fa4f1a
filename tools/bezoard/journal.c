/* SPDX-License-Identifier: MIT */
#include "journal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "item.h"

#define JOURNAL "/run/systemd/journal/socket"
#define STREAM	"/run/systemd/journal/stdout"

uint64_t unsaid;

void journal_field(struct journal *j, const char *fmt, ...)
{
	va_list args;

	if (j->fields == JOURNAL_FIELDS)
		return;
	va_start(args, fmt);
	vsnprintf(j->field[j->fields++], sizeof(j->field[0]), fmt, args);
	va_end(args);
}

/* Is it connected to the journal? systemd-cat(1) of systemd 252 sets no variable. */
static int is_stream(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(to);

	return !getpeername(2, (struct sockaddr *)&to, &len) &&
	       to.sun_family == AF_UNIX && len < sizeof(to) &&
	       !strcmp(to.sun_path, STREAM);
}

/* Does standard error go there? systemd.exec(5), $JOURNAL_STREAM. */
static int is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	    !fstat(2, &st) && st.st_dev == dev && st.st_ino == ino)
		return 1;
	return is_stream();
}

/* "NAME=value", a line each: no value has a newline of its own. */
static void add(char *entry, size_t size, const char *name, const char *value)
{
	size_t at = strlen(entry), i;

	snprintf(entry + at, size - at, "%s%s\n", name, value);
	for (i = at; entry[i] && entry[i + 1]; i++)
		if (entry[i] == '\n')
			entry[i] = ' ';
}

/*
 * systemd.io/JOURNAL_NATIVE_PROTOCOL: a datagram. Not by libsystemd, which waits for
 * a journal that does not read. -1: there is none.
 */
static int send_it(const struct journal *j, const char *sentence)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = JOURNAL };
	char entry[(JOURNAL_FIELDS + 6) * 192], priority[16];
	int fd, bad;
	size_t i;

	if (!is_journal())
		return -1;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	snprintf(priority, sizeof(priority), "%d", j->priority);
	entry[0] = '\0';
	add(entry, sizeof(entry), "MESSAGE_ID=", j->id);
	add(entry, sizeof(entry), "PRIORITY=", priority);
	add(entry, sizeof(entry), "SYSLOG_IDENTIFIER=", "bezoard");
	for (i = 0; i < j->fields; i++)
		add(entry, sizeof(entry), "", j->field[i]);
	add(entry, sizeof(entry), "MESSAGE=", sentence);
	bad = sendto(fd, entry, strlen(entry), MSG_NOSIGNAL,
		     (struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;
	close(fd);
	/* standard error is read by the same one */
	if (bad == EAGAIN)
		unsaid++;
	return bad && bad != EAGAIN ? -1 : 0;
}

void journal_say(const struct journal *j, const char *fmt, ...)
{
	char sentence[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	if (send_it(j, sentence))
		say("%s", sentence);
}
