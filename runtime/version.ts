/** The version of dsc, as package.json and every manifest state it. */
export const version = "0.1.0";
