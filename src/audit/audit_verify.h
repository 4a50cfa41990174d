/*-------------------------------------------------------------------------
 *
 * audit_verify.h
 *		What verification has found out about each seal.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_AUDIT_VERIFY_H
#define PLINTH_AUDIT_VERIFY_H

#include "audit/audit_seal.h"

#include "nodes/execnodes.h"

/* Of several faults the last of these is the status of the seal. */
typedef enum AuditStatus
{
	AUDIT_OK,
	AUDIT_PURGED,
	AUDIT_CHANGED,
	AUDIT_REORDERED,
	AUDIT_ADDED,
	AUDIT_REMOVED
} AuditStatus;

/* A seal and what is known of it. */
typedef struct AuditCheck
{
	AuditSeal seal;
	bool touched;  /* has records of the range */
	bool near;	   /* or stands beside one that has: the hash is known */
	bool unlinked; /* does not hold the hash of the seal before */
	bool holds;	   /* the records are those that were sealed */
	int64 found;   /* records */
	const char *signature_fault; /* or NULL */
	AuditHash hash;
	AuditTree *tree; /* while records come */
	AuditStatus status;
	int nfaults;
	StringInfo detail; /* the first few of them; NULL when there is none */
} AuditCheck;

typedef struct AuditPurge
{
	TimestampTz from;
	TimestampTz to; /* not included */
} AuditPurge;

typedef struct AuditVerify
{
	ReturnSetInfo *results;
	MemoryContext context; /* lasts as long as the call */
	int count;
	AuditCheck *checks;	 /* by id */
	AuditCheck **by_era; /* by era and id */
	int passed;			 /* of by_era: can get no more records */
	int npurges;
	AuditPurge *purges; /* months that have a mark */
} AuditVerify;

/* audit_verify.c */
extern AuditCheck *plinth_audit_seal_of(AuditVerify *verify, int16 era,
										uint64 txid);

/* audit_report.c */
extern void plinth_audit_require_seals(void);
extern void plinth_audit_read_purges(AuditVerify *verify);
extern void plinth_audit_fault(AuditVerify *verify, AuditCheck *check,
							   AuditStatus status, const char *format, ...)
	pg_attribute_printf(4, 5);
extern TimestampTz plinth_audit_id_time(const pg_uuid_t *id);
extern const char *plinth_audit_record_name(const pg_uuid_t *id);
extern void plinth_audit_report(AuditVerify *verify, AuditCheck *check);
extern void plinth_audit_check_head(AuditVerify *verify, Datum head);

#endif /* PLINTH_AUDIT_VERIFY_H */
