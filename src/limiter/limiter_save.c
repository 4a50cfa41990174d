/*-------------------------------------------------------------------------
 *
 * limiter_save.c
 *		Keeps open windows over a restart.
 *
 * At a clean shutdown the postmaster, when all other processes have gone,
 * writes what is open to a file of the data directory; at the next start it
 * reads the file and removes it.  A window is saved with what is left of it,
 * and that much is left of it when the server is back: the time between is
 * not counted, because no clock is trusted over it.
 *
 * The control file says whether the shutdown was clean, so a crash, an
 * immediate shutdown, or a restart after a crash saves nothing (S7.7).  A
 * file that is damaged, of another cluster or of another version is reported
 * in the log, removed, and otherwise ignored: limits then begin anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "limiter/limiter_internal.h"

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#define SAVE_FILE "plinth_rate_limits"
#define SAVE_FILE_NEW SAVE_FILE ".tmp"

/* Changes when the layout of the file does. */
#define SAVE_MAGIC UINT64CONST(0x706c696e74686c31)

/* Only the server's own account may know who was counted. */
#define SAVE_MODE (S_IRUSR | S_IWUSR)

typedef struct SaveHeader
{
	uint64 magic;
	uint64 system_identifier;
	uint64 count;
	uint32 window_size; /* sizeof(SavedWindow) */
	pg_crc32c crc;		/* of the header up to here, and the windows */
} SaveHeader;

/* A window, with times that mean something after a restart. */
typedef struct SavedWindow
{
	LimiterLabel label;
	int64 window_us;
	int64 left_us; /* until the window ends */
	int64 idle_us; /* since the last allowed request */
	int32 limit;
	int32 passed;
	uint8 over;
} SavedWindow;

static uint64 system_identifier;

static void save_windows(int code, Datum arg);
static bool was_clean_shutdown(void);
static SavedWindow *collect_windows(uint64 *count);
static void read_windows(void);
static bool load_file(int fd, SavedWindow **windows, uint64 *count);
static bool is_valid(const SavedWindow *window);
static bool write_all(int fd, const void *bytes, Size size);
static bool read_all(int fd, void *bytes, Size size);
static pg_crc32c checksum(const SaveHeader *header, const SavedWindow *windows);

/*
 * Take up what the last clean shutdown has left, and be called at the next.
 * Runs in the postmaster each time it makes shared memory.
 */
void
plinth_limiter_save_startup(void)
{
	system_identifier = GetSystemIdentifier();
	read_windows();
	on_shmem_exit(save_windows, (Datum) 0);
}

/*
 * Write the open windows.  Reports what goes wrong and lets the server stop.
 */
static void
save_windows(int code, Datum arg)
{
	SaveHeader header = {.magic = SAVE_MAGIC,
						 .system_identifier = system_identifier,
						 .window_size = sizeof(SavedWindow)};
	SavedWindow *windows;
	int fd;

	if (!was_clean_shutdown())
		return;

	windows = collect_windows(&header.count);
	if (header.count == 0)
		return;
	header.crc = checksum(&header, windows);

	unlink(SAVE_FILE_NEW);
	fd = OpenTransientFilePerm(
		SAVE_FILE_NEW, O_CREAT | O_EXCL | O_WRONLY | PG_BINARY, SAVE_MODE);
	if (fd < 0)
	{
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not create file \"%s\": %m", SAVE_FILE_NEW)));
		return;
	}
	if (!write_all(fd, &header, sizeof(header)) ||
		!write_all(fd, windows, sizeof(SavedWindow) * header.count))
	{
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not write file \"%s\": %m", SAVE_FILE_NEW)));
		CloseTransientFile(fd);
		unlink(SAVE_FILE_NEW);
		return;
	}
	CloseTransientFile(fd);
	(void) durable_rename(SAVE_FILE_NEW, SAVE_FILE, LOG);
}

/*
 * Has the server come to rest, as the control file has it?  Our exit callback
 * is called for every end of the postmaster, and its exit code does not tell
 * an immediate shutdown from others.
 */
static bool
was_clean_shutdown(void)
{
	bool crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);

	return crc_ok && (control->state == DB_SHUTDOWNED ||
					  control->state == DB_SHUTDOWNED_IN_RECOVERY);
}

static SavedWindow *
collect_windows(uint64 *count)
{
	int64 now = limiter_now();
	LimiterWindow *windows =
		palloc(sizeof(LimiterWindow) * plinth_limiter_table.partition_slots);
	SavedWindow *saved = NULL;
	Size room = 0;

	*count = 0;
	for (int i = 0; i < plinth_limiter_table.partitions; i++)
	{
		int found = plinth_limiter_partition_read(i, windows);

		for (int j = 0; j < found; j++)
		{
			SavedWindow *to;

			if (windows[j].ends_at <= now)
				continue;
			if (*count == room)
			{
				room = room == 0 ? 1024 : room * 2;
				saved = saved == NULL
							? MemoryContextAllocHuge(CurrentMemoryContext,
													 sizeof(SavedWindow) * room)
							: repalloc_huge(saved, sizeof(SavedWindow) * room);
			}
			to = &saved[(*count)++];
			/* no byte of the file is left to chance */
			memset(to, 0, sizeof(SavedWindow));
			memcpy(&to->label, &windows[j].label,
				   LIMITER_LABEL_SIZE(&windows[j].label));
			to->window_us = windows[j].terms.window_us;
			to->limit = windows[j].terms.limit;
			to->left_us = windows[j].ends_at - now;
			to->idle_us = Max(now - windows[j].used_at, 0);
			to->passed = windows[j].passed;
			to->over = windows[j].over;
		}
	}
	pfree(windows);

	return saved;
}

/*
 * Read the file, if there is one, and remove it.
 */
static void
read_windows(void)
{
	SavedWindow *windows = NULL;
	uint64 count = 0;
	int64 now = limiter_now();
	int fd;

	fd = OpenTransientFile(SAVE_FILE, O_RDONLY | PG_BINARY);
	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not open file \"%s\": %m", SAVE_FILE)));
		return;
	}

	if (load_file(fd, &windows, &count))
	{
		for (uint64 i = 0; i < count; i++)
		{
			LimiterWindow window = {.label = windows[i].label,
									.terms = {.limit = windows[i].limit,
											  .window_us = windows[i].window_us},
									.passed = windows[i].passed,
									.over = windows[i].over != 0,
									.ends_at = now + windows[i].left_us,
									.used_at = now - windows[i].idle_us};

			(void) plinth_limiter_restore(&window, now);
		}
	}
	else
		ereport(LOG, (errcode(ERRCODE_DATA_CORRUPTED),
					  errmsg("ignoring file \"%s\": it was not saved whole by this "
							 "cluster and version",
							 SAVE_FILE),
					  errdetail("All rate limits begin anew.")));

	CloseTransientFile(fd);
	if (windows != NULL)
		pfree(windows);
	if (unlink(SAVE_FILE) != 0)
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not remove file \"%s\": %m", SAVE_FILE)));
}

/*
 * Read and check the whole file before any of it is used.
 */
static bool
load_file(int fd, SavedWindow **windows, uint64 *count)
{
	SaveHeader header;
	struct stat status;
	Size size;

	if (fstat(fd, &status) != 0 || !read_all(fd, &header, sizeof(header)) ||
		header.magic != SAVE_MAGIC ||
		header.system_identifier != system_identifier ||
		header.window_size != sizeof(SavedWindow) || header.count == 0 ||
		header.count > (MaxAllocHugeSize / sizeof(SavedWindow)))
		return false;
	size = header.count * sizeof(SavedWindow);
	if ((uint64) status.st_size != sizeof(header) + size)
		return false;

	*windows = MemoryContextAllocHuge(CurrentMemoryContext, size);
	if (!read_all(fd, *windows, size) ||
		!EQ_CRC32C(header.crc, checksum(&header, *windows)))
		return false;
	for (uint64 i = 0; i < header.count; i++)
		if (!is_valid(&(*windows)[i]))
			return false;

	*count = header.count;
	return true;
}

static bool
is_valid(const SavedWindow *window)
{
	return (window->label.kind == LIMITER_TIER ||
			window->label.kind == LIMITER_CALLER ||
			window->label.kind == LIMITER_ENDPOINT) &&
		   window->label.name_length <= LIMITER_TEXT_MAX &&
		   window->label.identifier_length <= LIMITER_TEXT_MAX &&
		   window->limit > 0 && window->passed >= 0 && window->window_us > 0 &&
		   window->left_us > 0 && window->left_us <= window->window_us &&
		   window->window_us <= PG_INT64_MAX / 8 && window->idle_us >= 0 &&
		   window->idle_us <= PG_INT64_MAX / 8;
}

static bool
write_all(int fd, const void *bytes, Size size)
{
	const char *from = bytes;

	while (size > 0)
	{
		ssize_t written = write(fd, from, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			/* a short write without a reason is a full disk */
			if (written == 0)
				errno = ENOSPC;
			return false;
		}
		from += written;
		size -= written;
	}

	return true;
}

static bool
read_all(int fd, void *bytes, Size size)
{
	char *to = bytes;

	while (size > 0)
	{
		ssize_t got = read(fd, to, size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		size -= got;
	}

	return true;
}

static pg_crc32c
checksum(const SaveHeader *header, const SavedWindow *windows)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, header, offsetof(SaveHeader, crc));
	COMP_CRC32C(crc, windows, sizeof(SavedWindow) * header->count);
	FIN_CRC32C(crc);

	return crc;
}
