/* SPDX-License-Identifier: MIT */
#include "journal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#ifdef HAVE_SYSTEMD
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#endif

#include "item.h"

void journal_field(struct journal *j, const char *fmt, ...)
{
	va_list args;

	if (j->fields == JOURNAL_FIELDS)
		return;
	va_start(args, fmt);
	vsnprintf(j->field[j->fields++], sizeof(j->field[0]), fmt, args);
	va_end(args);
}

#ifdef HAVE_SYSTEMD
/* Does standard error go there? systemd.exec(5), $JOURNAL_STREAM. */
static int is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       !fstat(2, &st) && st.st_dev == dev && st.st_ino == ino;
}

static int send_it(const struct journal *j, const char *sentence)
{
	struct iovec parts[JOURNAL_FIELDS + 3];
	char message[1100], id[64], priority[24];
	int n = 0;
	size_t i;

	if (!is_journal())
		return -1;
	snprintf(message, sizeof(message), "MESSAGE=%s", sentence);
	snprintf(id, sizeof(id), "MESSAGE_ID=%s", j->id);
	snprintf(priority, sizeof(priority), "PRIORITY=%d", j->priority);
	parts[n++] = (struct iovec){ message, strlen(message) };
	parts[n++] = (struct iovec){ id, strlen(id) };
	parts[n++] = (struct iovec){ priority, strlen(priority) };
	for (i = 0; i < j->fields; i++)
		parts[n++] = (struct iovec){ (void *)j->field[i],
					     strlen(j->field[i]) };
	return sd_journal_sendv(parts, n);
}
#else
static int send_it(const struct journal *j, const char *sentence)
{
	(void)j;
	(void)sentence;
	return -1;
}
#endif

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
