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
 * A crash, an immediate shutdown, or a restart after a crash saves nothing
 * (S7.7).  A file that is damaged, of another cluster or of another version is
 * reported in the log and otherwise ignored: limits then begin anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

#include "access/xlog.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "base/keep.h"

#define SAVE_FILE "plinth_rate_limits"

/* Changes when the layout of the file does. */
#define SAVE_MAGIC UINT64CONST(0x706c696e74686c32)

/* A window or bucket, with times that mean something after a restart. */
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
static SavedWindow *collect_windows(uint64 *count);
static void read_windows(void);
static bool is_valid(const SavedWindow *window);

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
 * Write the open windows.  All other processes have gone, so no lock is taken.
 */
static void
save_windows(int code, Datum arg)
{
	SavedWindow *windows;
	uint64 count;

	if (!plinth_keep_is_clean_shutdown())
		return;

	windows = collect_windows(&count);
	if (count > 0)
		plinth_keep_write(SAVE_FILE, SAVE_MAGIC, system_identifier, windows,
						  sizeof(SavedWindow), count);
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
	int64 now = limiter_now();
	SavedWindow *windows;
	uint64 count;

	windows = plinth_keep_read(SAVE_FILE, SAVE_MAGIC, system_identifier,
							   sizeof(SavedWindow), &count,
							   "All rate limits begin anew.");
	for (uint64 i = 0; i < count; i++)
	{
		LimiterWindow window = {.label = windows[i].label,
								.terms = {.limit = windows[i].limit,
										  .window_us = windows[i].window_us},
								.passed = windows[i].passed,
								.over = windows[i].over != 0,
								.ends_at = now + windows[i].left_us,
								.used_at = now - windows[i].idle_us};

		if (is_valid(&windows[i]))
			(void) plinth_limiter_restore(&window, now);
	}
	if (windows != NULL)
		pfree(windows);
}

/*
 * Can it be put into the table?  The sum of the file is right, so this is for
 * files that somebody has made.
 */
static bool
is_valid(const SavedWindow *window)
{
	bool bucket = window->label.kind == LIMITER_BUCKET;

	return (bucket || window->label.kind == LIMITER_TIER ||
			window->label.kind == LIMITER_CALLER ||
			window->label.kind == LIMITER_ENDPOINT) &&
		   window->label.name_length <= LIMITER_TEXT_MAX &&
		   window->label.identifier_length <= LIMITER_TEXT_MAX &&
		   window->limit > 0 && window->passed >= 0 && window->window_us > 0 &&
		   window->left_us > 0 &&
		   (bucket || window->left_us <= window->window_us) &&
		   window->left_us <= PG_INT64_MAX / 1024 &&
		   window->window_us <= PG_INT64_MAX / 8 && window->idle_us >= 0 &&
		   window->idle_us <= PG_INT64_MAX / 8;
}
