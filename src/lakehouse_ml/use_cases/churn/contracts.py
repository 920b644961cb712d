"""What each table of churn holds: grain, key, columns and types. The catalog binds them by dataset name."""

from __future__ import annotations

from lakehouse_ml.use_cases.columns import ACTION, KNOWN_AT, LEARNED_UNTIL, SCORE, derive_tables
from lakehouse_ml.use_cases.contracts import Column, Table

_KEY = ("customer_id", "snapshot_on")
_CUSTOMER = Column("customer_id", "string", doc="Customer.")
_DAY = Column("snapshot_on", "date", doc="Day whose state the row describes.")

landing_customers = Table(
    "landing_customers",
    "one row per customer and snapshot",
    _KEY,
    (
        Column("customer_id", "string", "customerID", nullable=False, doc="Customer."),
        Column("gender", "string", "gender", doc="Female or Male."),
        Column("senior_citizen", "int", "SeniorCitizen", doc="1 if 65 or older, else 0."),
        Column("partner", "string", "Partner", doc="Yes or No."),
        Column("dependents", "string", "Dependents", doc="Yes or No."),
        Column("tenure_months", "int", "tenure", doc="Whole months as a customer; 0 in the first month."),
        Column("phone_service", "string", "PhoneService", doc="Yes or No."),
        Column("multiple_lines", "string", "MultipleLines", doc="Yes, No or No phone service."),
        Column("internet_service", "string", "InternetService", doc="DSL, Fiber optic or No."),
        Column("online_security", "string", "OnlineSecurity", doc="Yes, No or No internet service."),
        Column("online_backup", "string", "OnlineBackup", doc="Yes, No or No internet service."),
        Column("device_protection", "string", "DeviceProtection", doc="Yes, No or No internet service."),
        Column("tech_support", "string", "TechSupport", doc="Yes, No or No internet service."),
        Column("streaming_tv", "string", "StreamingTV", doc="Yes, No or No internet service."),
        Column("streaming_movies", "string", "StreamingMovies", doc="Yes, No or No internet service."),
        Column("contract", "string", "Contract", doc="Month-to-month, One year or Two year."),
        Column("paperless_billing", "string", "PaperlessBilling", doc="Yes or No."),
        Column("payment_method", "string", "PaymentMethod", doc="How the customer pays."),
        Column("monthly_charges", "double", "MonthlyCharges", doc="Current charge per month, in the file's currency."),
        Column("total_charges", "double", "TotalCharges", doc="Charged so far; blank before the first bill."),
        Column("churn", "string", "Churn", doc="Yes if the customer left within the horizon; blank if unknown."),
    ),
)
parsed_customers, raw_customers, quarantine_lines_customers, clean_customers = derive_tables(landing_customers)

landing_outcomes = Table(
    "landing_outcomes",
    "one row per customer and snapshot whose outcome became known later",
    _KEY,
    (
        Column("customer_id", "string", "customerID", nullable=False, doc="Customer."),
        Column("churn", "string", "Churn", nullable=False, doc="Yes if the customer left, No if not."),
    ),
)
parsed_outcomes, raw_outcomes, quarantine_lines_outcomes, clean_outcomes = derive_tables(landing_outcomes)

feature_customers = Table(
    "feature_customers",
    "one row per customer and snapshot",
    _KEY,
    (
        _CUSTOMER,
        _DAY,
        *(
            Column(column.name, column.type, doc=column.doc)
            for column in landing_customers.columns
            if column.name not in ("customer_id", "churn")
        ),
        Column("tenure_group", "string", doc="short below 12 months, medium below 36, else long (bounds by conf)."),
        Column("avg_monthly_charges", "double", doc="Total by tenure; the current charge where tenure is 0."),
    ),
)
label_customers = Table(
    "label_customers", "one row per customer and snapshot with a known outcome", _KEY,
    (_CUSTOMER, _DAY, Column("label", "int", doc="1 if the customer left within the horizon, 0 if not."), KNOWN_AT),
)  # fmt: skip
model_input_customers = Table(
    "model_input_customers", "one row per customer and snapshot with a known outcome", _KEY,
    (*feature_customers.columns, Column("label", "int", doc="1 if the customer left within the horizon."), KNOWN_AT,
     Column("part", "string", doc="train or holdout, by the hash of the customer.")),
)  # fmt: skip
score_customers = Table(
    "score_customers",
    "one row per scored customer and batch",
    (*_KEY, "batch"),
    (_CUSTOMER, _DAY, *SCORE, LEARNED_UNTIL),
)
score_actions = Table(
    "score_actions", "one row per customer worth an offer", (*_KEY, "batch"), (_CUSTOMER, _DAY, *ACTION)
)
